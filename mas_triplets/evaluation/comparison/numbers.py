"""The numbers of a comparison: a row a run against its bounds, a row a method over seeds, and which are best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from mas_triplets.evaluation.averages import deviation
from mas_triplets.evaluation.comparison.runs import Entry, Method
from mas_triplets.evaluation.lifelong import intransigence, recovered
from mas_triplets.evaluation.stored_results import own_task_map, uses_strength

COLUMNS = {
    "average": max,
    "all": max,
    "forgetting": min,
    "backward_transfer": max,
    "recovered": max,
    "intransigence": min,
}
"""The numbers of the main table, and which of two is better."""

BOUNDS = {"finetune": "lower bound", "joint": "upper bound"}
"""The methods that others lie between, and what they are called."""


def run_row(entry: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the numbers of one run; `recovered` and `intransigence` need the bounds of its seed among `entries`."""
    own, about = own_task_map(entry.results), entry.results["run"]
    finetune, joint = (_reference(entry, entries, strategy) for strategy in BOUNDS)
    low, high = (own_task_map(found.results) if found else None for found in (finetune, joint))
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
    }


def _reference(entry: Entry, entries: Sequence[Entry], strategy: str) -> Entry | None:
    """Return the bound's run of the entry's seed; of several the one whose other settings are most like its own."""
    found = [other for other in entries if other.strategy == strategy and other.seed == entry.seed]

    def differing(other: Entry) -> int:
        keys = [key for key in entry.settings if not key.startswith("lifelong.")]
        return sum(entry.settings[key] != other.settings[key] for key in keys)

    return entry if entry in found else min(found, key=differing, default=None)


def seed_row(method: Method, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of each number; None where a run of the method lacks it."""
    summary: dict[str, Any] = {
        "method": method.label,
        "strategy": method.strategy,
        "strength": rows[0]["strength"],
        "seeds": [row["seed"] for row in rows],
        "runs": len(rows),
    }
    for name in COLUMNS:
        values = [row[name] for row in rows]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        summary[name] = fmean(known) if whole else None
        summary[f"{name}_sd"] = deviation(known) if whole else None
    return summary


def best_cells(rows: Iterable[Mapping[str, Any]]) -> set[tuple[int, str]]:
    """Return (id of the row, column) of what is best, equal as shown with three decimals counting as equal.

    Joint training is left out, and so is a column in which all numbers are equal.
    """
    found = set()
    for name, better in COLUMNS.items():
        values = [
            (id(row), round(row[name], 3)) for row in rows if row["strategy"] != "joint" and row[name] is not None
        ]
        if len({value for _, value in values}) > 1:
            top = better(value for _, value in values)
            found |= {(row, name) for row, value in values if value == top}
    return found
