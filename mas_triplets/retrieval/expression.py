"""Several facts in one query: AND, OR and NOT over scores that are made comparable first.

Raw scores of facts with different masks are not comparable: fewer slots make higher cosines and smaller distances. So
each fact's scores over all rows of the index are standardised, z = (s - mean) / sd, and then

    Is(fact)     z
    And(a, b)    min(a, b)
    Or(a, b)     max(a, b)
    Not(a)       -a

z says by how many standard deviations a row shows the fact more than the index does on average. Minimum, maximum and
minus obey De Morgan's laws, do not care for order or repetition, and add no weight that would have to be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mas_triplets.facts import Fact
from mas_triplets.retrieval.scores import Array, best_first


def standardised(scores: Array) -> Array:
    """Return z = (s - mean) / sd of the scores (N,) of one fact over all rows; zeros where all are equal.

    sd is that of the rows themselves: the square root of the mean squared difference from the mean.

    Example: [1, 2, 3] are [-1.2247, 0, 1.2247].
    """
    if scores.min(initial=np.inf) >= scores.max(initial=-np.inf):  # their mean may be off by a rounding
        return np.zeros_like(scores)
    away: Array = scores - scores.mean()
    deviation = np.sqrt(np.square(away).mean())
    return np.asarray(away / deviation)


@dataclass(frozen=True, slots=True)
class Is:
    """A row shows a fact."""

    fact: Fact

    def evaluate(self, scores: Mapping[Fact, Array]) -> Array:
        """Return the standardised scores (N,) of the fact, from the raw scores (N,) of each fact over all rows."""
        return standardised(scores[self.fact])

    def facts(self) -> Iterator[Fact]:
        """Yield the fact."""
        yield self.fact


@dataclass(frozen=True, slots=True)
class And:
    """A row is all of several things, at least one: as much as it is the least of them."""

    parts: tuple[Expression, ...]

    def evaluate(self, scores: Mapping[Fact, Array]) -> Array:
        """Return the minimum (N,) over the parts."""
        return np.asarray(np.minimum.reduce([part.evaluate(scores) for part in self.parts]))

    def facts(self) -> Iterator[Fact]:
        """Yield the facts of all parts, as often as they stand there."""
        for part in self.parts:
            yield from part.facts()


@dataclass(frozen=True, slots=True)
class Or:
    """A row is one of several things, at least one: as much as it is the most of them."""

    parts: tuple[Expression, ...]

    def evaluate(self, scores: Mapping[Fact, Array]) -> Array:
        """Return the maximum (N,) over the parts."""
        return np.asarray(np.maximum.reduce([part.evaluate(scores) for part in self.parts]))

    def facts(self) -> Iterator[Fact]:
        """Yield the facts of all parts, as often as they stand there."""
        for part in self.parts:
            yield from part.facts()


@dataclass(frozen=True, slots=True)
class Not:
    """A row is not something."""

    part: Expression

    def evaluate(self, scores: Mapping[Fact, Array]) -> Array:
        """Return minus the value (N,) of the part."""
        return -self.part.evaluate(scores)

    def facts(self) -> Iterator[Fact]:
        """Yield the facts of the part."""
        yield from self.part.facts()


Expression: TypeAlias = Is | And | Or | Not


def best_rows(values: Array, k: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], Array]:
    """Return the rows of the min(k, N) highest of `values` (N,) and their values; ties go to the lower row.

    Example: [1, 3, 1, 3] with k = 3 gives rows [1, 3, 0].
    """
    rows = np.arange(len(values), dtype=np.int64)
    if k < len(values):  # sorting all rows is for few of them
        least = np.partition(values, len(values) - k)[len(values) - k]
        rows = np.flatnonzero(values >= least)
    best = rows[best_first(values[rows], rows, k)]
    return best, values[best]
