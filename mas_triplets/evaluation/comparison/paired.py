"""Paired tests: whether a method differs from a reference over runs that share seed and order of tasks.

Runs of one seed start from the same weights, see the same tasks in the same order and the same batches: what differs
between two of them is the method. Pairing takes out what differs from seed to seed, which is mostly more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from mas_triplets.evaluation.averages import deviation
from mas_triplets.evaluation.comparison.methods import Method
from mas_triplets.lifelong import read_keys

MEASURES = ("average", "all", "forgetting")
"""The numbers that are tested."""

_LEAST_RANKED = 6
"""Pairs for Wilcoxon's test: with five the smallest p-value that it can give is 1/16, more than 0.05."""

_EQUAL = 1e-12


@dataclass(frozen=True)
class Paired:
    """A method against a reference, by one measure.

    Attributes:
        pairs: how many pairs of runs.
        difference: mean over the pairs of the method's value minus the reference's; None without a pair.
        deviation: standard deviation of the differences; None with fewer than two pairs.
        p: p-value of the two-sided paired t-test; None where there is no test.
        wilcoxon: p-value of Wilcoxon's two-sided signed-rank test; None with fewer than six pairs.
        note: why there is no test.
        p_holm: p after Holm's correction.
        wilcoxon_holm: wilcoxon after Holm's correction.
    """

    pairs: int
    difference: float | None
    deviation: float | None
    p: float | None
    wilcoxon: float | None
    note: str = ""
    p_holm: float | None = None
    wilcoxon_holm: float | None = None


def paired_test(method: Sequence[float], reference: Sequence[float]) -> Paired:
    """Return the tests of two lists of values of which those at one place are a pair.

    With the differences 1, 2, 3: mean 2, deviation 1, t = 2 / (1 / sqrt 3) = 3.46 at two degrees of freedom.

    >>> found = paired_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    >>> found.difference, found.deviation, round(found.p, 4), found.wilcoxon
    (2.0, 1.0, 0.0742, None)
    """
    differences = [a - b for a, b in zip(method, reference, strict=True)]
    count = len(differences)
    if not count:
        return Paired(0, None, None, None, None, "no run of both has the same seed and order of tasks")
    mean, spread = fmean(differences), deviation(differences)
    if count == 1:
        return Paired(count, mean, spread, None, None, "one run: no test")
    if max(differences) - min(differences) < _EQUAL:
        return Paired(count, mean, spread, None, None, "all differences are equal: no test")
    from scipy import stats  # here, since a comparison of single runs needs none of it

    p = float(stats.ttest_rel(method, reference).pvalue)
    ranked = float(stats.wilcoxon(differences).pvalue) if count >= _LEAST_RANKED else None
    return Paired(count, mean, spread, p, ranked)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values of one family after Holm's correction; None stays None and does not count.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than one before it.

    >>> holm([0.25, 0.125, None, 0.0625])
    [0.25, 0.25, None, 0.1875]
    """
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (value, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * value))
        corrected[place] = least
    return corrected


_FOR_ALL = ("finetune", "l2", "averaging")
"""References for every method; averaging is what merging by importance does without an importance."""


def comparisons(methods: Sequence[Method]) -> list[tuple[Method, list[Method]]]:
    """Return each reference with the methods that are tested against it.

    All methods are tested against finetune, l2, averaging, and those whose importance is replaced by a control. What is
    joined of several methods is tested against each of its parts, and against the same join with l2 in the place of
    another importance: mas+lwf against mas, lwf and l2+lwf. Joint training is not tested: it is a bound.
    """
    tested = [method for method in methods if method.strategy != "joint"]
    found: list[tuple[Method, list[Method]]] = []
    for reference in sorted(methods, key=lambda one: (one.control != "none", *_rank(one.strategy))):
        if reference.strategy == "joint":
            continue
        others = [method for method in tested if method is not reference]
        if reference.strategy not in _FOR_ALL and not _is_control(reference):
            others = [method for method in others if _joins(method.strategy, reference.strategy)]
        if others:
            found.append((reference, others))
    return found


def _rank(strategy: str) -> tuple[int, str]:
    return (_FOR_ALL.index(strategy) if strategy in _FOR_ALL else len(_FOR_ALL), strategy)


def _is_control(method: Method) -> bool:
    return method.control != "none" and "lifelong.control" in read_keys(method.strategy)


def _joins(method: str, reference: str) -> bool:
    """Return whether a method is the reference and more, or the same with another importance than l2.

    >>> _joins("mas+lwf", "lwf"), _joins("mas+lwf", "l2+lwf"), _joins("mas+lwf", "l2+replay")
    (True, True, False)
    """
    mine, theirs = set(method.split("+")), set(reference.split("+"))
    return theirs < mine or ("l2" in theirs and len(theirs) > 1 and len(mine) == len(theirs) and theirs - {"l2"} < mine)


def paired_rows(methods: Sequence[Method], rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tests of methods against references, as `comparisons` has them, as plain values.

    Holm's correction is over the methods tested against one reference by
    one measure. Runs of one method with the same seed and order count as one, with their mean.

    Args:
        methods: the methods.
        rows: name of a run -> its numbers.
    """
    found = []
    for reference, others in comparisons(methods):
        for measure in MEASURES:
            base = _values(reference, rows, measure)
            made = []
            for method in others:
                mine = _values(method, rows, measure)
                shared = [pair for pair in mine if pair in base]
                made.append(paired_test([mine[pair] for pair in shared], [base[pair] for pair in shared]))
            corrected = zip(made, holm([one.p for one in made]), holm([one.wilcoxon for one in made]), strict=True)
            for method, (one, p, ranked) in zip(others, corrected, strict=True):
                told = replace(one, p_holm=p, wilcoxon_holm=ranked)
                found.append({"reference": reference.label, "method": method.label, "measure": measure, **vars(told)})
    return found


def _values(method: Method, rows: Mapping[str, Mapping[str, Any]], measure: str) -> dict[Hashable, float]:
    """Return the method's value of each seed and order; what is not defined for a run is left out."""
    grouped: dict[Hashable, list[float]] = {}
    for entry in method.entries:
        value = rows[entry.name][measure]
        if value is not None:
            grouped.setdefault(entry.pair, []).append(value)
    return {pair: fmean(values) for pair, values in grouped.items()}
