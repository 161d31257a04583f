"""The exact scores of facts for every row of an index, in double precision, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mas_triplets.facts import Fact
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.scores import Array, ScoreKind, combined, slot_parts

_BLOCK = 1024  # rows: a block and its products stay in the processor's cache


def all_scores(index: FactIndex, facts: Sequence[Fact], block: int = _BLOCK) -> Array:
    """Return the scores (M, N) of M facts for all N rows: the same numbers that `FactIndex.search` shows.

    Each row is summed by itself, as in `slot_parts`, so that equal rows have equal scores. What several facts have in
    common is computed once. Beside the result no more than `block` rows are held.

    Raises:
        UserError: a word has no vector.
    """
    vectors, mask = (tensor.numpy().astype(np.float64) for tensor in index.run.language.embed(facts))
    rows, dim, kind = len(index), index.record.dim, index.record.score
    asked = {(slot, text): vectors[m, slot] for m, fact in enumerate(facts) for slot, text in _present(fact)}
    scores = np.empty((len(facts), rows), dtype=np.float64)
    for start in range(0, rows, block):
        stored = index.faiss.reconstruct_n(start, min(block, rows - start))
        slots = [stored[:, slot * dim : (slot + 1) * dim].astype(np.float64) for slot in range(3)]
        found = {(slot, text): _part(slots[slot], vector, kind) for (slot, text), vector in asked.items()}
        for number, fact in enumerate(facts):
            parts = np.zeros((len(stored), 3))
            for slot, text in _present(fact):
                parts[:, slot] = found[slot, text]
            scores[number, start : start + len(stored)] = combined(parts, mask[number], kind)
    return scores


def _present(fact: Fact) -> list[tuple[int, str]]:
    return [(slot, text) for slot, text in enumerate(fact.slots) if text is not None]


def _part(slots: Array, vector: Array, kind: ScoreKind) -> Array:
    """Return one slot's part of the score (n,) of the slots (n, D) of some rows for one vector (D,)."""
    part: Array = (slots * vector).sum(-1) if kind == "cosine" else -np.square(slots - vector).sum(-1)
    return part


def parts_of_rows(index: FactIndex, rows: Sequence[int], fact: Fact) -> Array:
    """Return each slot's part (R, 3) of the score of a fact for some rows; parts of absent slots mean nothing."""
    vectors, _ = index.run.language.embed([fact])
    stored = index.faiss.reconstruct_batch(np.asarray(rows, dtype=np.int64))
    return slot_parts(stored, vectors.numpy(), index.record.score)
