"""Ranking metrics as pure functions of scores: average precision, hit@k (= R@k, K@k) and reciprocal rank.

Orientation: row = query, column = gallery item, a higher score = a better match. Three queries, four pictures:

    >>> scores = torch.tensor([[0.9, 0.1, 0.8, 0.2],     # query 0 ranks picture 0, then 2, 3, 1
    ...                        [0.5, 0.5, 0.1, 0.0],     # query 1 cannot tell pictures 0 and 1 apart
    ...                        [0.3, 0.2, 0.1, 0.0]])    # query 2 has no right picture at all
    >>> relevant = torch.tensor([[True, False, False, True],
    ...                          [True, False, False, False],
    ...                          [False, False, False, False]])
    >>> metrics = rank_metrics(scores, relevant, ap_cutoffs=(2,), hit_cutoffs=(1,))
    >>> {name: [round(value, 4) for value in values.tolist()] for name, values in metrics.items()}
    {'ap': [0.8333, 0.75, nan], 'ap@2': [0.5, 0.75, nan], 'hit@1': [1.0, 0.5, nan], 'rr': [1.0, 0.75, nan]}

Query 0 finds its pictures on ranks 1 and 3: AP = (1/1 + 2/3) / 2. Query 1 finds its picture on rank 1 or on rank 2,
each half of the time: AP = (1 + 1/2) / 2. Query 2 has no value and is left out of means (`mean_over_queries`).

Ties: every value is the expectation over uniformly random orders of equal scores, in closed form (McSherry and Najork,
"Computing information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008), so the
order of the gallery never matters, not even in the last bit. `ties` counts what is ahead of and tied with each relevant
item, `tied_metrics` makes values of the counts; here queries are taken in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.evaluation.tied_metrics import average_precision, hit, reciprocal_rank
from mas_triplets.evaluation.ties import slices, tie_groups

MEMORY_BYTES = 256 * 2**20
"""Default bound on the working memory of `rank_metrics`."""

_CHUNK_BYTES = 64 * 2**20  # working memory of a chunk of queries: measured; larger ones leave the processor's caches

RELEVANT_BYTES = 8 * 20
"""Working memory for each relevant item, an upper bound: (queries, relevant items) arrays of 8 bytes alive at once."""


def rank_metrics(
    scores: Tensor,
    relevant: Tensor,
    *,
    gallery: Tensor | None = None,
    ap_cutoffs: Sequence[int] = (100,),
    hit_cutoffs: Sequence[int] = (1, 5, 10),
    memory_bytes: int = MEMORY_BYTES,
) -> dict[str, Tensor]:
    """Return every ranking metric of every query; the module's docstring has a worked example.

    Args:
        scores: (Q, N) floating point, higher is better; infinities are allowed, NaN is not.
        relevant: (Q, N) bool, which gallery items are right for which query.
        gallery: (N,) or (Q, N) bool, the items that take part; None = all.
        ap_cutoffs: the k of each "ap@k".
        hit_cutoffs: the k of each "hit@k".
        memory_bytes: bound on working memory, besides the arguments and 16 bytes for each relevant item; kept by
            taking the queries in chunks (of at least one query). It does not change the result, not even in a bit.

    Returns:
        Name -> (Q,) float64 on the device of `scores`, each value in [0, 1], NaN for a query with no relevant item:
        "ap": average precision, mean over the relevant items of the precision at their ranks;
        "ap@k": the same sum over the first k ranks only, divided by min(k, number of relevant items);
        "hit@k": the probability that at least one relevant item is among the first k. Fact to image this is what
            cross-modal retrieval calls R@k (not the share of relevant items found), image to fact K@k;
        "rr": 1 / rank of the first relevant item; its mean over queries is MRR.

    Raises:
        UserError: a score is NaN, as after a training run that diverged.
    """
    _check(scores, relevant, gallery, (*ap_cutoffs, *hit_cutoffs))
    queries, items = scores.shape
    values = no_values(queries, ap_cutoffs, hit_cutoffs, scores.device)

    gallery_rows = None if gallery is None else gallery.expand(queries, items)
    found, item = _relevant_items(relevant, gallery_rows, memory_bytes)
    begin = found.cumsum(0) - found
    order = found.argsort(descending=True, stable=True)  # like with like: rows are padded to their chunk's maximum
    item_bytes = items * row_bytes(scores)
    start = 0
    while start < queries:
        most = int(found[order[start]])
        query_bytes = item_bytes + most * RELEVANT_BYTES
        rows = order[start : start + max(1, min(memory_bytes, _CHUNK_BYTES) // max(1, query_bytes))]
        start += len(rows)
        score, outside = _gallery_scores(scores, gallery_rows, rows)
        if most == 0:
            continue
        rows = rows[found[rows] > 0]  # the first ones
        slot = torch.arange(most, device=scores.device)
        mine = item[(begin[rows, None] + slot).clamp(max=len(item) - 1)]
        metrics = metrics_of_rows(
            score[: len(rows)], mine, found[rows], ap_cutoffs, hit_cutoffs, memory_bytes, outside[: len(rows)]
        )
        for name, found_values in metrics.items():
            values[name][rows] = found_values
    return values


def no_values(
    queries: int, ap_cutoffs: Sequence[int], hit_cutoffs: Sequence[int], device: torch.device | None = None
) -> dict[str, Tensor]:
    """Return every metric's values of queries that have none: (queries,) float64 NaN."""
    names = ["ap", *(f"ap@{k}" for k in ap_cutoffs), *(f"hit@{k}" for k in hit_cutoffs), "rr"]
    return {name: torch.full((queries,), torch.nan, dtype=torch.float64, device=device) for name in names}


def row_bytes(scores: Tensor) -> int:
    """Return the working memory in bytes for each gallery item of a query: its score, and what sorting it takes."""
    score = max(4, scores.element_size())
    return 2 * score if scores.device.type == "cpu" else 2 * score + 16


def metrics_of_rows(
    score: Tensor,
    columns: Tensor,
    found: Tensor,
    ap_cutoffs: Sequence[int],
    hit_cutoffs: Sequence[int],
    memory_bytes: int,
    outside: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the metrics of queries that each have a relevant item: name -> (n,), as `rank_metrics` does.

    Args:
        score: (n, N) float32 or float64 without NaN; its rows are sorted in place where that is the quickest way.
        columns: (n, M) the relevant items of each query, padded on the right with any column.
        found: (n,) how many of them each query has, at least 1.
        ap_cutoffs: the k of each "ap@k".
        hit_cutoffs: the k of each "hit@k".
        memory_bytes: bound on the terms that are held at once.
        outside: (n,) how many items of each row are outside of the gallery, with a score of -inf; None = none.
    """
    present = torch.arange(columns.shape[1], device=score.device) < found[:, None]
    own = score.gather(1, columns).masked_fill_(~present, -torch.inf)
    ties = tie_groups(score, own, torch.zeros_like(found) if outside is None else outside, found, memory_bytes)
    values = {"ap": average_precision(ties, None)}
    for k in ap_cutoffs:
        values[f"ap@{k}"] = average_precision(ties, k)
    first = ties.first()
    for k in hit_cutoffs:
        values[f"hit@{k}"] = hit(first, k)
    values["rr"] = reciprocal_rank(first, memory_bytes)
    return values


def mean_over_queries(values: Tensor) -> tuple[float | None, int]:
    """Return the mean of a metric over the queries that have a value, and how many those are.

    A query without any relevant item is NaN and does not count; when none has one, the mean is None, never 0.

    >>> mean_over_queries(torch.tensor([1.0, float("nan"), 0.5]))
    (0.75, 2)
    >>> mean_over_queries(torch.tensor([float("nan")]))
    (None, 0)
    """
    counted = values[~values.isnan()].double()
    return (float(counted.mean()), len(counted)) if len(counted) else (None, 0)


def check_numbers(score: Tensor, queries: Tensor) -> None:
    """Raise UserError if one of the scores (n, N) of the queries with numbers (n,) is NaN."""
    if torch.isnan(score.sum()):  # one fast pass: a NaN spreads into the sum; so does inf - inf, which is no error
        wrong = score.isnan().nonzero()
        if len(wrong):
            raise UserError(
                f"the score of query {int(queries[wrong[0, 0]])} for gallery item {int(wrong[0, 1])} is not a number "
                "(NaN): the model or the vectors that gave it are broken, mostly by training that diverged; lower the "
                "learning rate or the penalty's strength and train again"
            )


def _relevant_items(relevant: Tensor, gallery: Tensor | None, memory_bytes: int) -> tuple[Tensor, Tensor]:
    """Return the number of relevant items in each query's gallery, (Q,), and their columns, query after query."""
    queries, items = relevant.shape
    found = torch.zeros(queries, dtype=torch.int64, device=relevant.device)
    columns = [torch.zeros(0, dtype=torch.int64, device=relevant.device)]
    for rows in slices(queries, min(memory_bytes, _CHUNK_BYTES) // max(1, 20 * items)):
        right = relevant[rows] if gallery is None else relevant[rows] & gallery[rows]
        query, column = right.nonzero().unbind(1)
        found[rows] = torch.bincount(query, minlength=len(right))
        columns.append(column.clone())  # not a view, which would keep `query` alive
    return found, torch.cat(columns)


def _gallery_scores(scores: Tensor, gallery: Tensor | None, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the queries' scores, (n, N), -inf outside of the gallery, and how many items are outside, (n,)."""
    score = scores[rows]
    score = score if score.element_size() >= 4 else score.float()
    outside = torch.zeros(len(rows), dtype=torch.int64, device=scores.device)
    if gallery is not None:
        absent = ~gallery[rows]
        score.masked_fill_(absent, -torch.inf)
        outside = absent.sum(1)
    check_numbers(score, rows)
    return score, outside


def _check(scores: Tensor, relevant: Tensor, gallery: Tensor | None, cutoffs: Sequence[int]) -> None:
    if scores.ndim != 2 or not scores.is_floating_point():
        raise ValueError(f"scores must be (Q, N) floating point, not {tuple(scores.shape)} {scores.dtype}")
    if relevant.shape != scores.shape or relevant.dtype != torch.bool:
        raise ValueError(f"relevant must be {tuple(scores.shape)} bool, not {tuple(relevant.shape)} {relevant.dtype}")
    if gallery is not None and (gallery.dtype != torch.bool or gallery.shape not in (scores.shape, scores.shape[1:])):
        raise ValueError(f"gallery must be (N,) or (Q, N) bool, not {tuple(gallery.shape)} {gallery.dtype}")
    if any(k < 1 for k in cutoffs):
        raise ValueError(f"cutoffs start at 1: {list(cutoffs)}")
