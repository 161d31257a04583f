"""The exact scores of facts for every row of an index, in double precision, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mas_triplets.facts import Fact
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.scores import Array, combined, one_part, slot_parts

_BLOCK = 256  # rows: a block and its products stay in the processor's cache


def all_scores(index: FactIndex, facts: Sequence[Fact], block: int = _BLOCK) -> Array:
    """Return the scores (M, N) of M facts for all N rows: the same numbers that `FactIndex.search` shows.

    Each row is summed by itself, as in `slot_parts`, so that equal rows have equal scores. What several facts have in
    common is computed once. Beside the result no more than `block` rows are held.

    Raises:
        UserError: a fact cannot be asked for.
    """
    vectors, mask = (tensor.numpy().astype(np.float64) for tensor in index.space.embed(facts))
    dim, kind, stored = index.record.dim, index.record.score, index.vectors
    wanted = {(part, vectors[m, part].tobytes()): vectors[m, part] for m, part in np.argwhere(mask).tolist()}
    scores = np.empty((len(facts), len(stored)), dtype=np.float64)
    for start in range(0, len(stored), block):
        rows = stored[start : start + block]
        slots = [rows[:, part * dim : (part + 1) * dim].astype(np.float64) for part in range(mask.shape[1])]
        found = {key: one_part(slots[key[0]], vector, kind) for key, vector in wanted.items()}
        for number in range(len(facts)):
            parts = np.zeros((len(rows), mask.shape[1]))
            for part in np.flatnonzero(mask[number]).tolist():
                parts[:, part] = found[part, vectors[number, part].tobytes()]
            scores[number, start : start + len(rows)] = combined(parts, mask[number], kind)
    return scores


def parts_of_rows(index: FactIndex, rows: Sequence[int], fact: Fact) -> list[dict[str, float]]:
    """Return for some rows the parts of their score for a fact, by name, those that the fact has."""
    vectors, mask = (tensor.numpy() for tensor in index.space.embed([fact]))
    parts = slot_parts(index.vectors[np.asarray(rows, dtype=np.int64)], vectors, index.record.score)
    present = np.flatnonzero(mask[0]).tolist()
    return [{index.record.parts[part]: values[part] for part in present} for values in parts.tolist()]
