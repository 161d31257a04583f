"""The exact scores of facts for every row of an index, in double precision, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mas_triplets.facts import Fact
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.scores import Array, combined, slot_parts

_BLOCK = 4096  # rows: a block and its products stay in the processor's cache


def all_scores(index: FactIndex, facts: Sequence[Fact], block: int = _BLOCK) -> Array:
    """Return the scores (M, N) of M facts for all N rows: the same numbers that `FactIndex.search` shows.

    Beside the result no more than `block` rows are held.

    Raises:
        UserError: a word has no vector.
    """
    vectors, mask = (tensor.numpy() for tensor in index.run.language.embed(facts))
    rows = len(index)
    scores = np.empty((len(facts), rows), dtype=np.float64)
    for start in range(0, rows, block):
        stored = index.faiss.reconstruct_n(start, min(block, rows - start))
        for number in range(len(facts)):
            parts = slot_parts(stored, vectors[number : number + 1], index.record.score)
            scores[number, start : start + len(stored)] = combined(parts, mask[number], index.record.score)
    return scores


def parts_of_rows(index: FactIndex, rows: Sequence[int], fact: Fact) -> Array:
    """Return each slot's part (R, 3) of the score of a fact for some rows; parts of absent slots mean nothing."""
    vectors, _ = index.run.language.embed([fact])
    stored = index.faiss.reconstruct_batch(np.asarray(rows, dtype=np.int64))
    return slot_parts(stored, vectors.numpy(), index.record.score)
