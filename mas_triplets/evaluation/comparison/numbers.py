"""The numbers of a comparison: a row a run against its bounds, and a row a method over its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mas_triplets.evaluation.averages import plasticity, whole_deviation, whole_mean
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.evaluation.comparison.methods import BOUNDS, Method
from mas_triplets.evaluation.lifelong import intransigence, recovered
from mas_triplets.evaluation.stored_results import own_task_map
from mas_triplets.lifelong import uses_strength

Better = Callable[..., float]
"""max or min: which of two numbers is better."""

COLUMNS: dict[str, Better] = {
    "average": max,
    "all": max,
    "forgetting": min,
    "backward_transfer": max,
    "recovered": max,
    "intransigence": min,
}
"""The numbers of the table of runs, and which of two is better."""

HEADLINES: dict[str, Better] = {
    "average": max,
    "all": max,
    "forgetting": min,
    "recovered": max,
    "recovered_all": max,
}
"""The numbers of the table of methods, after one a task."""

FURTHER: dict[str, Better] = {"plasticity": max, "backward_transfer": max, "intransigence": min}
"""What else is told of a method over its runs."""


def task_columns(tasks: int) -> dict[str, Better]:
    """Return the columns T1, T2, ...: the score on each task in the order of learning, after the last one.

    >>> list(task_columns(2))
    ['T1', 'T2']
    """
    return {f"T{number}": max for number in range(1, tasks + 1)}


def run_row(entry: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the numbers of one run; those against the bounds need the bounds of its seed among `entries`."""
    own, about = own_task_map(entry.results), entry.results["run"]
    finetune, joint = (_reference(entry, entries, strategy) for strategy in BOUNDS)
    low, high = (own_task_map(found.results) if found else None for found in (finetune, joint))
    lowest, highest = (found.results["all"] if found else None for found in (finetune, joint))
    return {
        "name": entry.name,
        "strategy": entry.strategy,
        "strength": about["strength"] if uses_strength(entry.strategy) else None,
        "seed": entry.seed,
        "average": entry.results["average"],
        "all": entry.results["all"],
        "forgetting": entry.results["forgetting"],
        "backward_transfer": own["backward_transfer"],
        "recovered": recovered(own["average"], low["average"], high["average"]) if low and high else None,
        "intransigence": intransigence(own["R"], high["R"][-1]) if high else None,
        "recovered_all": recovered(entry.results["all"], lowest, highest),
        "plasticity": plasticity(own["R"]),
        **dict(zip(task_columns(len(own["R"])), own["R"][-1], strict=True)),
    }


def _reference(entry: Entry, entries: Sequence[Entry], strategy: str) -> Entry | None:
    """Return the bound's run of the entry's seed; of several the one whose other settings are most like its own."""
    found = [other for other in entries if other.strategy == strategy and other.pair == entry.pair]

    def differing(other: Entry) -> int:
        keys = [key for key in entry.settings if not key.startswith("lifelong.")]
        return sum(entry.settings[key] != other.settings[key] for key in keys)

    return entry if entry in found else min(found, key=differing, default=None)


def method_row(method: Method, rows: Sequence[Mapping[str, Any]], tasks: int) -> dict[str, Any]:
    """Return mean and, under NAME_sd, deviation of each number over the method's runs; None where one lacks it.

    Args:
        method: the method.
        rows: the numbers of its runs: `run_row`.
        tasks: how many tasks there are.
    """
    summary: dict[str, Any] = {
        "method": method.label,
        "strategy": method.strategy,
        "strength": method.strength,
        "control": method.control,
        "seeds": [row["seed"] for row in rows],
        "runs": len(rows),
    }
    for name in (*task_columns(tasks), *HEADLINES, *FURTHER):
        values = [row[name] for row in rows]
        summary[name] = whole_mean(values)
        summary[f"{name}_sd"] = whole_deviation(values)
    return summary


def best_cells(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Better]) -> frozenset[tuple[int, str]]:
    """Return (number of the row, column) of what is best, equal as shown with three decimals counting as equal.

    Joint training is left out, and so is a column in which all numbers are equal.

    >>> rows = [{"strategy": "mas", "all": 0.5}, {"strategy": "l2", "all": 0.25}, {"strategy": "joint", "all": 1.0}]
    >>> best_cells(rows, {"all": max})
    frozenset({(0, 'all')})
    """
    found = set()
    for name, better in columns.items():
        values = [
            (number, round(row[name], 3))
            for number, row in enumerate(rows)
            if row["strategy"] != "joint" and row[name] is not None
        ]
        if len({value for _, value in values}) > 1:
            top = better(value for _, value in values)
            found |= {(number, name) for number, value in values if value == top}
    return frozenset(found)
