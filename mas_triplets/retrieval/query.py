"""Searching an inner-product index so that the answer depends on nothing but the vectors and the query."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.prepared import IntArray
from mas_triplets.retrieval.flat_file import vectors_of
from mas_triplets.retrieval.kinds import Kind, Parameters, search_parameters
from mas_triplets.retrieval.scores import Array, ScoreKind, combined, slot_parts

_MARGIN = 16
_SLACK = 1e-4  # of the score: far above what single precision loses, in any order of summation
_BLOCK = 65_536
_MANY = 8  # queries from which one product of our own is quicker than FAISS


def candidates(index: Any, queries: npt.NDArray[np.float32], k: int) -> IntArray:
    """Return rows (M, c), c >= min(k, rows), that hold the `k` best of each query and all that tie with the last.

    FAISS ranks in single precision and leaves the order of equal scores open; it is asked for more rows until the
    last one is clearly worse than the k-th.

    Args:
        index: a flat inner-product index of FAISS with at least one row.
        queries: (M, numbers per row), float32; one matrix product serves them all.
        k: at least 1.
    """
    wanted = min(index.ntotal, k + _MARGIN)
    while True:
        scores, rows = search_flat(index, queries, wanted)
        if wanted == index.ntotal:
            return np.asarray(rows, dtype=np.int64)
        bound = scores[:, k - 1]
        if (scores[:, -1] < bound - _SLACK * np.maximum(1.0, np.abs(bound))).all():
            return np.asarray(rows, dtype=np.int64)
        wanted = min(index.ntotal, 4 * wanted)


def search_flat(index: Any, queries: npt.NDArray[np.float32], wanted: int) -> tuple[npt.NDArray[np.float32], IntArray]:
    """Return scores and rows (M, wanted), best first, of a flat index; with many queries eight times as fast as FAISS.

    Args:
        index: a flat inner-product index with at least `wanted` rows.
        queries: (M, numbers per row), float32.
        wanted: at least 1.
    """
    if len(queries) < _MANY:
        found: tuple[npt.NDArray[np.float32], IntArray] = index.search(queries, wanted)
        return found
    vectors = vectors_of(index)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        new = queries @ vectors[start : start + _BLOCK].T
        places = _highest(new, wanted)
        scores = np.concatenate([scores, np.take_along_axis(new, places, 1)], axis=1)
        rows = np.concatenate([rows, start + places], axis=1)
        places = _highest(scores, wanted)
        scores, rows = np.take_along_axis(scores, places, 1), np.take_along_axis(rows, places, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _highest(scores: npt.NDArray[np.float32], count: int) -> IntArray:
    """Return the places (M, min(count, n)) of the highest of (M, n) scores, in any order."""
    if count >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    found: IntArray = np.argpartition(scores, -count, axis=1)[:, -count:]
    return found


def approximate_candidates(
    index: Any, kind: Kind, parameters: Parameters, queries: npt.NDArray[np.float32], k: int
) -> IntArray:
    """Return rows (M, c) among which the `k` best of each query are likely to be; -1 where fewer were found.

    Args:
        index: of any kind; see `candidates` for the other arguments.
        kind: what it is.
        parameters: how hard it searches: one of `Kind.settings`.
        queries: (M, numbers per row), float32.
        k: at least 1.
    """
    wanted = min(index.ntotal, max(k + _MARGIN, k * kind.rerank))
    if parameters.get("efSearch", wanted) < wanted:
        parameters = {"efSearch": wanted}
    _, rows = index.search(queries, wanted, params=search_parameters(kind, parameters))
    return np.asarray(rows, dtype=np.int64)


def ranked(
    vectors: npt.NDArray[np.float32],
    rows: IntArray,
    wanted: npt.NDArray[np.float32],
    mask: npt.NDArray[np.float32],
    kind: ScoreKind,
    k: int,
) -> tuple[IntArray, Array, Array]:
    """Score candidate rows of queries in double precision and keep the `k` best of each; ties go to the lower row.

    Args:
        vectors: (N, numbers per row) all rows of the index.
        rows: (M, c) candidates; -1 is none.
        wanted: (M, S, D) embeddings of the queries.
        mask: (S,) which parts they have.
        kind: `cosine` or `euclidean`.
        k: at least 1.

    Returns:
        (rows, scores, parts) of the min(k, c) best: (M, k), (M, k) and (M, k, S); where there are fewer, the last rows
        are -1 and their scores minus infinity.
    """
    parts = np.empty((*rows.shape, len(mask)))
    across = max(1, _BLOCK // max(1, rows.shape[1]))
    for first in range(0, len(rows), across):
        for start in range(0, rows.shape[1], _BLOCK):
            some = np.s_[first : first + across, start : start + _BLOCK]
            parts[some] = slot_parts(vectors[rows[some]], wanted[first : first + across, None], kind)
    scores = np.where(rows < 0, -np.inf, combined(parts, mask, kind))
    best = np.lexsort((rows, -scores))[:, :k]
    return (
        np.take_along_axis(rows, best, 1),
        np.take_along_axis(scores, best, 1),
        np.take_along_axis(parts, best[..., None], 1),
    )
