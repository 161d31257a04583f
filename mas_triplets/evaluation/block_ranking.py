"""Ranking metrics of more queries than one matrix of scores can hold: a block of queries at a time, sparse labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.ranking import (
    MEMORY_BYTES,
    RELEVANT_BYTES,
    check_numbers,
    metrics_of_rows,
    no_values,
)

Scores = Callable[[slice], Tensor]
"""Scores (n, N) float32 of some queries for all gallery items, on the CPU: a tensor of its own, to be written over."""


def rank_blocks(
    scores: Scores,
    right: Sequence[Labels],
    *,
    ap_cutoffs: Sequence[int] = (100,),
    hit_cutoffs: Sequence[int] = (1, 5, 10),
    memory_bytes: int = MEMORY_BYTES,
    multiple_of: int = 1,
) -> list[dict[str, Tensor]]:
    """Return the metrics of every query: for each of `right` what `rank_metrics` gives for all scores at once.

    Args:
        scores: gives the scores of some queries; asked for each query once.
        right: one or more answers to which gallery items are right for which query; a row for each query.
        ap_cutoffs: the k of each "ap@k".
        hit_cutoffs: the k of each "hit@k".
        memory_bytes: bound on working memory, besides the arguments, the result and what `scores` works in; kept by
            taking as many queries at a time as fit (at least one). It does not change the result, not even in a bit.
        multiple_of: queries that `scores` computes together anyway: a block is some times as many, or an equal part.

    Raises:
        UserError: a score is NaN, as after a training run that diverged.

    Query 0 scores item 1 highest, then 2 and 0; items 0 and 1 are right for it, and item 2 for query 1:

    >>> scores = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.3, 0.3]])
    >>> labels = Labels.of_pairs(np.array([0, 0, 1]), np.array([0, 1, 2]), 2, 3)
    >>> found = rank_blocks(lambda queries: scores[queries].clone(), [labels])[0]
    >>> [round(value, 4) for value in found["ap"].tolist()]     # (1/1 + 2/3) / 2, and (1/1 + 1/2 + 1/3) / 3
    [0.8333, 0.6111]
    """
    queries, items = len(right[0].starts) - 1, right[0].facts
    values = [no_values(queries, ap_cutoffs, hit_cutoffs) for _ in right]
    half, quarter = memory_bytes // 2, memory_bytes // 4
    copies = min(2, len(right))  # ranking may sort the rows
    for block in _blocks(queries, half // max(1, 4 * items * copies), multiple_of):
        score = scores(block)
        check_numbers(score, torch.arange(block.start, block.stop))
        for number, labels in enumerate(right):
            rows = score if number == len(right) - 1 else score.clone()
            found = np.diff(labels.starts[block.start : block.stop + 1])
            for some in _slices_that_fit(found, quarter // RELEVANT_BYTES):
                of = slice(block.start + some.start, block.start + some.stop)
                columns, counts = _padded(labels, of), torch.from_numpy(found[some])
                metrics = metrics_of_rows(rows[some], columns, counts, ap_cutoffs, hit_cutoffs, quarter)
                for name, found_values in metrics.items():
                    values[number][name][of] = found_values.where(counts > 0, torch.nan)
        del score, rows  # before the next block is computed
    return values


def _blocks(count: int, step: int, multiple_of: int) -> Iterator[slice]:
    """Return slices of at most `step` that cover 0 to `count`, of whole multiples or of equal parts of one."""
    step = max(1, step)
    if step >= multiple_of:
        step -= step % multiple_of
    else:
        step = next(part for part in range(step, 0, -1) if multiple_of % part == 0)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _slices_that_fit(found: IntArray, cells: int) -> Iterator[slice]:
    """Return slices of neighbouring queries whose relevant items, padded to the most that one has, are few enough.

    >>> list(_slices_that_fit(np.array([2, 3, 1, 9, 0]), 8))    # 2 x 3 fit, 3 x 3 do not
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    start, most = 0, 1
    for stop, count in enumerate(found.tolist()):
        wider = max(most, count)
        if stop > start and wider * (stop + 1 - start) > cells:
            yield slice(start, stop)
            start, wider = stop, max(1, count)
        most = wider
    if len(found):
        yield slice(start, len(found))


def _padded(labels: Labels, rows: slice) -> Tensor:
    """Return (n, M) the columns of some rows, filled up with 0 to the most that one has, at least 1."""
    starts = labels.starts[rows.start : rows.stop + 1]
    counts = np.diff(starts)
    present = np.arange(max(1, counts.max(initial=0))) < counts[:, None]
    columns = np.zeros(present.shape, dtype=np.int64)
    columns[present] = labels.columns[starts[0] : starts[-1]]
    return torch.from_numpy(columns)
