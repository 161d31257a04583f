"""Means that drawings and tables show: over the tasks learnt so far, and over runs of one method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TypeAlias

Row: TypeAlias = Sequence[float | None]
"""One value a task, or a run; None where not measured."""
Matrix: TypeAlias = Sequence[Row]
"""R: row i after learning task i, column j on task j."""


def mean_of_seen(R: Matrix) -> list[float | None]:
    """Return, for each row i of R, the mean over the tasks learnt so far, j <= i; None where one is not measured.

    >>> mean_of_seen([[0.5, 0.0], [0.25, 0.75]])
    [0.5, 0.5]
    """
    return [whole_mean(row[: i + 1]) for i, row in enumerate(R)]


def mean_of_earlier(R: Matrix) -> list[float | None]:
    """Return, for each row i of R, the mean over the tasks before, j < i; None where one is not measured, or none is.

    >>> mean_of_earlier([[0.5, 0.0, 0.0], [0.25, 0.75, 0.0], [0.25, 0.5, 0.75]])
    [None, 0.25, 0.375]
    """
    return [whole_mean(row[:i]) for i, row in enumerate(R)]


def plasticity(R: Matrix) -> float | None:
    """Return mean_j R[j,j], how well each task is learnt in its turn; None where one is not measured.

    >>> plasticity([[0.5, 0.0], [0.25, 0.75]])
    0.625
    """
    return whole_mean([row[j] for j, row in enumerate(R)])


def whole_mean(values: Row) -> float | None:
    """Return the mean of the values; None where there is none, or one is None: part of them is another quantity.

    >>> whole_mean([0.5, 1.0]), whole_mean([0.5, None]), whole_mean([])
    (0.75, None, None)
    """
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def whole_deviation(values: Row) -> float | None:
    """Return the standard deviation (n - 1 below); None for fewer than two values, or where one is None."""
    known = [value for value in values if value is not None]
    return deviation(known) if len(known) == len(values) else None


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1 below); None for fewer than two values.

    >>> deviation([1.0, 3.0])
    1.4142135623730951
    """
    if len(values) < 2:
        return None
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def over_runs(rows: Sequence[Row]) -> tuple[list[float | None], list[float | None]]:
    """Return the mean and the deviation of each column over the runs, (columns,) each; None where a run lacks it.

    Args:
        rows: (runs, columns) values.

    >>> over_runs([[1.0, 0.5], [3.0, None]])
    ([2.0, None], [1.4142135623730951, None])
    """
    columns = list(zip(*rows, strict=True))
    return [whole_mean(column) for column in columns], [whole_deviation(column) for column in columns]


def mean_matrix(matrices: Sequence[Matrix]) -> list[list[float | None]]:
    """Return the mean of each entry over the runs; None where a run lacks it.

    >>> mean_matrix([[[0.5, None], [0.25, 0.75]], [[1.0, None], [0.25, None]]])
    [[0.75, None], [0.25, None]]
    """
    return [over_runs(rows)[0] for rows in zip(*matrices, strict=True)]
