"""Choosing a setting: the one whose mean score over the orders is the highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.evaluation.averages import plasticity, whole_deviation, whole_mean
from mas_triplets.evaluation.stored_results import own_task_map
from mas_triplets.sweep.grid import Setting, value_text

MEASURES = ("average", "all", "forgetting", "plasticity")
"""What is told of runs: own-task and all-facts mAP after the last task, forgetting, and how well each task is learnt
in its turn, mean_j R[j,j] of own-task mAP."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of one run: see `MEASURES`; None where one is not defined."""

    average: float
    all: float
    forgetting: float | None
    plasticity: float | None

    @property
    def score(self) -> float:
        """What decides: (own-task mAP + all-facts mAP) / 2."""
        return (self.average + self.all) / 2


@dataclass(frozen=True)
class Tried:
    """A setting and the numbers of its runs, one an order."""

    setting: Setting
    runs: tuple[Numbers, ...]

    @property
    def score(self) -> float:
        """Mean score over the orders."""
        return fmean(run.score for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the setting, mean and, under NAME_sd, deviation of each number."""
        return {
            "setting": self.setting,
            **mean_and_deviation("score", [run.score for run in self.runs]),
            **summary_of(self.runs),
            "runs": len(self.runs),
        }


def numbers_of(results: Mapping[str, Any], name: str) -> Numbers:
    """Return the numbers of a run's results.json.

    Raises:
        UserError: own-task or all-facts mAP is not defined, since a task has no picture in the part it is measured on.
    """
    if results["average"] is None or results["all"] is None:
        raise UserError(
            f"{name} has no own-task or all-facts mAP on the part '{results['run']['part']}': a task has no picture "
            "there, or is not learnt; prepare the data set with more pictures in that part, or make fewer tasks"
        )
    learnt = plasticity(own_task_map(results)["R"])
    return Numbers(results["average"], results["all"], results["forgetting"], learnt)


def choose(tried: Sequence[Tried]) -> Tried:
    """Return the setting with the highest mean score; of equal ones the first, whose values are the smallest.

    Example: with scores 0.2, 0.5, 0.5 for the strengths 1, 3, 10 it is 3.
    """
    return max(tried, key=lambda one: one.score)


def edges(chosen: Setting, tried: Sequence[Tried]) -> dict[str, str]:
    """Return the keys whose chosen value lies at the end of what was tried, each with which: a better may lie beyond.

    Example: {"lifelong.strength": "largest"}.
    """
    found = {}
    for key, value in chosen.items():
        values = [one.setting[key] for one in tried]
        if all(isinstance(other, int | float) and not isinstance(other, bool) for other in values):
            low, high = min(values), max(values)
            if low < high and value in (low, high):
                found[key] = "largest" if value == high else "smallest"
    return found


def edge_sentences(chosen: Setting, ends: Mapping[str, str]) -> list[str]:
    """Say what `edges` found.

    >>> edge_sentences({"lifelong.strength": 30.0}, {"lifelong.strength": "largest"})
    ['the best lifelong.strength, 30, is the largest tried']
    """
    return [f"the best {key}, {value_text(chosen[key])}, is the {end} tried" for key, end in ends.items()]


def summary_of(runs: Sequence[Numbers]) -> dict[str, float | None]:
    """Return mean and deviation of each of `MEASURES` over runs."""
    found: dict[str, float | None] = {}
    for name in MEASURES:
        found |= mean_and_deviation(name, [getattr(run, name) for run in runs])
    return found


def mean_and_deviation(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """Return {name: mean, name_sd: standard deviation}; None where a value lacks, or for fewer than two of them.

    >>> mean_and_deviation("all", [0.25, 0.75])
    {'all': 0.5, 'all_sd': 0.3535533905932738}
    """
    return {name: whole_mean(values), f"{name}_sd": whole_deviation(values)}
