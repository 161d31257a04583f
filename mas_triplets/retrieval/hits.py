"""What a search answers with."""

from __future__ import annotations

from dataclasses import dataclass

from mas_triplets.data.boxes import Box
from mas_triplets.facts import Fact


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of the index that answers a query.

    Attributes:
        rank: from 1.
        score: cosine, -1 to 1, or euclidean, at most 0; higher is better.
        image: path of the picture.
        box: [x1, y1, x2, y2] in its pixels, or None for the whole picture.
        slots: the part of the score of each slot the query has; their mean (cosine) or sum (euclidean) is the score.
            With class means the one part is `fact`.
        row: of the index.
    """

    rank: int
    score: float
    image: str
    box: Box | None
    slots: dict[str, float]
    row: int


@dataclass(frozen=True, slots=True)
class FactHit:
    """A fact found in a picture; `rank` is from 1 among the facts of its order, `slots` as in `Hit`."""

    rank: int
    score: float
    fact: Fact
    slots: dict[str, float]

    @property
    def order(self) -> int:
        """How many slots the fact has, 1 to 3."""
        return self.fact.order
