"""How hard an approximate index must search, and how much it then finds, measured against exact search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.prepared import IntArray
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.triplet import query_rows
from mas_triplets.retrieval.flat_file import vectors_of
from mas_triplets.retrieval.kinds import Kind, Parameters
from mas_triplets.retrieval.query import approximate_candidates, search_flat
from mas_triplets.retrieval.space import FactSpace

DEPTHS = (1, 10, 100)
"""The k of each recall@k."""

_TUNED_AT = 10
_QUERIES = 128  # for each mask, half to choose by and half held out
_FEWEST = 8
_ROUNDING = 1e-5
Mask = tuple[int, ...]


@dataclass(frozen=True)
class Searching:
    """How queries of one mask are answered.

    Attributes:
        parameters: of an approximate search; None where rows are compared one by one.
        recall: k -> share of the k truly best rows that a search for k finds, on held-out queries; 1 where exact.
        queries: how many were held out.
        reason: why it is exact, or how it was chosen.
    """

    parameters: Parameters | None
    recall: dict[int, float]
    queries: int
    reason: str


def masks_of(space: FactSpace) -> list[Mask]:
    """Return every mask that a query can have: seven for three slots, one where there is one part."""
    return [mask for mask in product((1, 0), repeat=len(space.parts)) if any(mask)]


def mask_name(parts: Sequence[str], mask: Sequence[float]) -> str:
    """Return what index.json calls a mask: its parts, such as `subject+object`."""
    return "+".join(part for part, present in zip(parts, mask, strict=True) if present)


def queries_for(mask: Mask, facts: Sequence[Fact], seed: int = 0) -> list[Fact]:
    """Return up to 128 different queries of a mask: facts without their other slots, then words of facts combined.

    Empty if no fact has anything in one of the slots.
    """
    generator = np.random.default_rng(seed)
    if len(mask) == 1:
        found = list(facts)
    else:
        whole = [
            fact.slots for fact in facts if all(text for text, wanted in zip(fact.slots, mask, strict=True) if wanted)
        ]
        found = list(dict.fromkeys(_masked(slots, mask) for slots in whole))
    generator.shuffle(found)
    columns = [sorted({fact.slots[place] or "" for fact in facts} - {""}) for place in range(len(SLOTS))]
    if len(mask) > 1 and all(column for column, wanted in zip(columns, mask, strict=True) if wanted):
        drawn = [
            [column[i] for i in generator.integers(0, len(column), 4 * _QUERIES)] if column else []
            for column in columns
        ]
        combined = zip(*(column or [None] * (4 * _QUERIES) for column in drawn), strict=True)
        found = list(dict.fromkeys([*found, *(_masked(slots, mask) for slots in combined)]))
    return found[:_QUERIES]


def tuned(
    index: Any, kind: Kind, flat: Any, space: FactSpace, facts: Sequence[Fact] | None, wanted: float
) -> dict[str, Searching]:
    """Choose for every mask the cheapest search that finds the share `wanted` of the ten best rows.

    Half of the queries choose; what is noted is measured on the others. A mask for which no setting is enough, or
    which no query can be made for, is answered exactly.

    Args:
        index: the index of FAISS.
        kind: what it is.
        flat: the same rows in a flat index.
        space: how facts are embedded.
        facts: of the run's data set; None if they are not known.
        wanted: recall@10, 0 to 1.

    Returns:
        For the name of each mask how it is searched.
    """
    masks = masks_of(space)
    if kind.name == "flat":
        return {mask_name(space.parts, mask): _exact("every row is compared") for mask in masks}
    known = [] if facts is None else [facts[place] for place in space.known(facts).tolist()]
    return {
        mask_name(space.parts, mask): _tuned(index, kind, flat, space, queries_for(mask, known), wanted)
        for mask in masks
    }


def recall_at(k: int, flat: Any, queries: npt.NDArray[np.float32], rows: IntArray) -> float:
    """Return the mean share of the `k` best rows that are among candidates (M, c), -1 being none.

    A row counts that scores as high as the k-th best, so that it does not matter which of equal rows was found.
    """
    k = min(k, flat.ntotal)
    bound = search_flat(flat, queries, k)[0][:, -1]
    vectors = vectors_of(flat)
    scores = np.stack([vectors[np.maximum(found, 0)] @ query for found, query in zip(rows, queries, strict=True)])
    enough = (scores >= (bound - _ROUNDING * np.maximum(1, np.abs(bound)))[:, None]) & (rows >= 0)
    return float(np.minimum(enough.sum(1), k).mean() / k)


def _tuned(index: Any, kind: Kind, flat: Any, space: FactSpace, facts: Sequence[Fact], wanted: float) -> Searching:
    if len(facts) < _FEWEST:
        return _exact(f"{len(facts)} queries are too few to measure by")
    queries = query_rows(*space.embed(facts), space.score).numpy()
    choosing, held_out = queries[::2], queries[1::2]
    best = 0.0
    for parameters in kind.settings(index.ntotal):
        best = recall_at(
            _TUNED_AT, flat, choosing, approximate_candidates(index, kind, parameters, choosing, _TUNED_AT)
        )
        if best >= wanted:
            recall = {
                k: recall_at(k, flat, held_out, approximate_candidates(index, kind, parameters, held_out, k))
                for k in DEPTHS
            }
            return Searching(parameters, recall, len(held_out), f"the cheapest search with recall@10 of {wanted:g}")
    return _exact(f"approximate search finds {best:.3f} of the ten best, less than {wanted:g}")


def _exact(reason: str) -> Searching:
    return Searching(None, dict.fromkeys(DEPTHS, 1.0), 0, reason)


def _masked(slots: Sequence[str | None], mask: Mask) -> Fact:
    return Fact(*(text if wanted else None for text, wanted in zip(slots, mask, strict=True)))
