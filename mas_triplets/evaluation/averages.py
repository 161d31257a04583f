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
    means: list[float | None] = []
    for i, row in enumerate(R):
        seen = [value for value in row[: i + 1] if value is not None]
        means.append(fmean(seen) if len(seen) == i + 1 else None)
    return means


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1 below); None for fewer than two values.

    >>> deviation([1.0, 3.0])
    1.4142135623730951
    """
    if len(values) < 2:
        return None
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
