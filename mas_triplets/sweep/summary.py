"""What a sweep found, as plain values for sweep.json, as tables for a person, and as points for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation.compare import CurvePoint
from mas_triplets.evaluation.lifelong import recovered
from mas_triplets.sweep.choice import Numbers, Tried, mean_and_deviation, summary_of
from mas_triplets.sweep.grid import Setting, value_text
from mas_triplets.sweep.methods import Method
from mas_triplets.sweep.plan import SweepPlan

_SHOWN = {
    "average": "own-task mAP",
    "all": "all-facts mAP",
    "forgetting": "forgetting",
    "recovered": "recovered",
    "recovered_all": "of all facts",
}


_TRIED = {"score": "mean of the two", "average": "own-task mAP", "all": "all-facts mAP", "forgetting": "forgetting"}


def plan_record(plan: SweepPlan, splits: Mapping[int, str]) -> dict[str, Any]:
    """Return a plan as plain values.

    Args:
        plan: the sweep.
        splits: number of an order -> name of its split.
    """
    return {
        "config": plan.config.model_dump(mode="json"),
        "methods": [
            {
                "label": candidate.method.label,
                "strategy": candidate.method.strategy,
                "settings": list(candidate.method.settings),
                "grids": {key: list(values) for key, values in candidate.grids.items()},
                "tried": list(candidate.settings) if candidate.chooses else [],
            }
            for candidate in plan.candidates
        ],
        "vary": plan.vary,
        "orders": [{"order": number, "seed": number, "split": splits[number]} for number in plan.orders],
        "choose_orders": list(plan.choose_orders),
        "budget": plan.budget,
        "notes": list(plan.notes),
    }


def choice_record(setting: Setting, tried: Sequence[Tried], edges: Mapping[str, str]) -> dict[str, Any]:
    """Return what was chosen of a method, and what was tried, as plain values."""
    return {"setting": setting, "edges": dict(edges), "tried": [one.to_dict() for one in tried]}


def final_rows(
    methods: Sequence[Method], chosen: Mapping[str, Setting], runs: Mapping[str, Mapping[int, Numbers]]
) -> list[dict[str, Any]]:
    """Return one row a method: what was chosen, mean and, under NAME_sd, deviation over orders of each number.

    `recovered`, of own-task mAP, and `recovered_all` are worked out within each order, against finetune and joint of
    the same order, before the mean is taken.

    Args:
        methods: those whose runs are all there.
        chosen: label -> setting.
        runs: label -> order -> numbers.
    """
    low, high = (_bound(methods, strategy) for strategy in ("finetune", "joint"))
    rows = []
    for method in methods:
        mine = runs[method.label]
        shares, shares_of_all = (
            [
                recovered(
                    _of(runs, method.label, order, name), _of(runs, low, order, name), _of(runs, high, order, name)
                )
                for order in mine
            ]
            for name in ("average", "all")
        )
        rows.append(
            {
                "method": method.label,
                "strategy": method.strategy,
                "setting": chosen[method.label],
                "orders": list(mine),
                **summary_of(list(mine.values())),
                **mean_and_deviation("recovered", shares),
                **mean_and_deviation("recovered_all", shares_of_all),
                "by_order": [
                    {"order": order, **vars(numbers), "recovered": share}
                    for (order, numbers), share in zip(mine.items(), shares, strict=True)
                ],
            }
        )
    return rows


def _bound(methods: Sequence[Method], strategy: str) -> str | None:
    """Return the label of the method that is a bound: of several the one with the fewest settings of its own."""
    found = [method for method in methods if method.strategy == strategy]
    return min(found, key=lambda method: len(method.settings)).label if found else None


def _of(runs: Mapping[str, Mapping[int, Numbers]], label: str | None, order: int, name: str) -> float | None:
    return None if label is None else getattr(runs[label][order], name)


def choice_table(choices: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the choices as they are printed: a row for each setting that was tried, the best marked."""
    return [
        {
            "method": label,
            "tried": setting_text(tried["setting"]),
            **{title: with_deviation(tried[name], tried[f"{name}_sd"]) for name, title in _TRIED.items()},
            "": _mark(choice) if tried["setting"] == choice["setting"] else "",
        }
        for label, choice in choices.items()
        for tried in choice["tried"]
    ]


def _mark(choice: Mapping[str, Any]) -> str:
    return "; ".join(["best", *(f"the {end} {key.rpartition('.')[2]} tried" for key, end in choice["edges"].items())])


def final_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows as they are printed: mean ± deviation over orders."""
    return [
        {
            "method": row["method"],
            "chosen": setting_text(row["setting"]) or "-",
            "orders": len(row["orders"]),
            **{title: with_deviation(row[name], row[f"{name}_sd"]) for name, title in _SHOWN.items()},
        }
        for row in rows
    ]


def setting_text(setting: Mapping[str, Any]) -> str:
    """Return a setting in short: `strength 10, distillation 0.3`."""
    return ", ".join(f"{key.rpartition('.')[2]} {value_text(value)}" for key, value in setting.items())


def with_deviation(mean: float | None, deviation: float | None) -> str:
    """Return `0.412 ± 0.010`, without the deviation where there is none."""
    if mean is None:
        return "-"
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def curve_points(label: str, setting: Setting, tried: Sequence[Tried], ends: Mapping[str, str]) -> list[CurvePoint]:
    """Return the points of forgetting against plasticity of a method with one number to choose; none for another.

    The method's name tells what was chosen, and whether it lies at the end of what was tried: `mas: best 10 (largest)`.

    Args:
        label: of the method.
        setting: that was chosen.
        tried: all that were tried.
        ends: what `edges` found.
    """
    end = "".join(f" ({end})" for end in ends.values())
    name = f"{label}: best {', '.join(value_text(value) for value in setting.values())}{end}"
    points = []
    for one in tried:
        values = list(one.setting.values())
        found = summary_of(one.runs)
        if len(values) != 1 or not isinstance(values[0], int | float):
            continue
        plasticity, forgetting, average, every = (
            found[measure] for measure in ("plasticity", "forgetting", "average", "all")
        )
        if plasticity is not None and forgetting is not None and average is not None and every is not None:
            points.append(CurvePoint(name, float(values[0]), plasticity, forgetting, average, every, len(one.runs)))
    return points
