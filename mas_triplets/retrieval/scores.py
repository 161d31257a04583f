"""Scores slot by slot, in double precision, from rows of an index: what a hit shows and what it is ranked by."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
ScoreKind = Literal["cosine", "euclidean"]


def numbers_per_row(dim: int, kind: ScoreKind, slots: int = 3) -> int:
    """Return how many numbers a picture has in an index: SD for cosine, SD + S for euclidean, with S slots."""
    return slots * dim if kind == "cosine" else slots * dim + slots


def slot_parts(rows: npt.NDArray[Any], vectors: npt.NDArray[Any], kind: ScoreKind) -> Array:
    """Return each slot's part of the score, (..., S), of rows and facts that are paired by broadcasting.

    cosine: cos(F_k, L_k), -1 to 1. euclidean: -||F_k - L_k||^2, at most 0. Parts of absent slots mean nothing.
    Each row is summed by itself, so equal rows have equal parts wherever they stand.

    Args:
        rows: (..., SD) or (..., SD + S) rows of an index, as `gallery_rows` makes them.
        vectors: (..., S, D) embeddings of facts, of unit length for cosine.
        kind: `cosine` or `euclidean`.

    Example: for D = 1, row [1, -1, 1] and fact vectors [[1], [1], [0]] the cosine parts are [1, -1, 0].
    """
    count, dim = vectors.shape[-2:]
    slots = np.asarray(rows[..., : count * dim], dtype=np.float64).reshape(*rows.shape[:-1], count, dim)
    return one_part(slots, np.asarray(vectors, dtype=np.float64), kind)


def one_part(slots: Array, wanted: Array, kind: ScoreKind) -> Array:
    """Return the part of the score (...) of slots (..., D) for embeddings (..., D), paired by broadcasting.

    A sum is that of its own numbers in their order, whatever stands beside it, so equal slots have equal parts.
    """
    if kind == "cosine":
        return np.asarray(np.einsum("...d,...d->...", slots, wanted))
    away = slots - wanted
    return np.asarray(-np.einsum("...d,...d->...", away, away))


def combined(parts: Array, mask: npt.NDArray[Any], kind: ScoreKind) -> Array:
    """Return the scores (...) of parts (..., S) under a mask (S,) or (..., S): the mean over present slots, or the sum.

    Example: parts [[0.5, 1.0, 9.0]] under mask (1, 1, 0) are 0.75 for cosine, 1.5 for euclidean.
    """
    present = np.asarray(mask, dtype=bool)
    total: Array = np.where(present, parts, 0.0).sum(-1)
    return total / present.sum(-1) if kind == "cosine" else total


def best_first(scores: Array, rows: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Return the positions of the `k` highest scores, highest first; of equal scores the lower row comes first."""
    order: npt.NDArray[np.int64] = np.lexsort((rows, -scores))[:k]
    return order
