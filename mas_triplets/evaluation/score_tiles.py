"""Scores of many pictures for many facts, some rows or columns at a time, always to the same bits.

How a matrix product rounds depends on the shape of what is multiplied, so scores computed some facts at a time would
depend on how many at a time, and with them the ranks of near ties. Here every score comes out of the product of one
tile of a fixed grid, whatever is asked for; a tile that is needed in part is computed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mas_triplets.model.triplet import slot_scores

ITEM_TILE = 2048  # measured: smaller tiles multiply more slowly, larger ones are no faster
FACT_TILE = 64


class ScoreTiles:
    """The scores (N, M) of N items for M facts.

    Args:
        embedding: (N, 3D) raw embeddings.
        vectors: (M, 3, D) language embeddings of the facts.
        mask: (M, 3) their masks.
        kind: `cosine` or `euclidean`.
    """

    def __init__(self, embedding: Tensor, vectors: Tensor, mask: Tensor, kind: str) -> None:
        self._embedding, self._vectors, self._mask, self._kind = embedding, vectors, mask, kind
        self._kept: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that all scores take."""
        return len(self._embedding) * len(self._vectors) * self._embedding.element_size()

    def keep(self) -> None:
        """Compute all scores now and answer from them."""
        self._kept = self._scores(slice(0, len(self._embedding)), slice(0, len(self._vectors)), by_fact=False)

    def of_facts(self, facts: slice) -> Tensor:
        """Return the scores (n, N) of all items for some facts: a row for each fact; a tensor of its own."""
        return self._scores(slice(0, len(self._embedding)), facts, by_fact=True)

    def of_items(self, items: slice) -> Tensor:
        """Return the scores (n, M) of some items for all facts: a row for each item; a tensor of its own."""
        return self._scores(items, slice(0, len(self._vectors)), by_fact=False)

    def _scores(self, items: slice, facts: slice, *, by_fact: bool) -> Tensor:
        if self._kept is not None:
            part = self._kept[items, facts]
            return (part.T if by_fact else part).clone(memory_format=torch.contiguous_format)
        shape = (items.stop - items.start, facts.stop - facts.start)
        scores = self._embedding.new_empty(shape[::-1] if by_fact else shape)
        by_item = scores.T if by_fact else scores
        for item_tile, item_part, item_place in _tiles(items, len(self._embedding), ITEM_TILE):
            for fact_tile, fact_part, fact_place in _tiles(facts, len(self._vectors), FACT_TILE):
                tile = slot_scores(
                    self._embedding[item_tile], self._vectors[fact_tile], self._mask[fact_tile], self._kind
                )
                by_item[item_place, fact_place] = tile[item_part, fact_part]
        return scores


def _tiles(wanted: slice, count: int, size: int) -> Iterator[tuple[slice, slice, slice]]:
    """Return each tile of 0 to `count` that `wanted` touches, which part of it is wanted, and the part's place there.

    The last tile reaches back, so that it is as large as the others; of what two hold, the first one's counts. Tiles
    of 4 in 0 to 10 are 0 to 4, 4 to 8 and 6 to 10, of which the last gives 8 and 9:

    >>> list(_tiles(slice(7, 10), 10, 4))  # doctest: +NORMALIZE_WHITESPACE
    [(slice(4, 8, None), slice(3, 4, None), slice(0, 1, None)),
     (slice(6, 10, None), slice(2, 4, None), slice(1, 3, None))]
    """
    for cell in range(wanted.start // size * size, wanted.stop, size):
        stop = min(cell + size, count)
        start = max(0, stop - size)
        first, last = max(cell, wanted.start), min(stop, wanted.stop)
        yield (
            slice(start, stop),
            slice(first - start, last - start),
            slice(first - wanted.start, last - wanted.start),
        )
