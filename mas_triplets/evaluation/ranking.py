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
order of the gallery never matters, not even in the last bit. What it needs of each relevant item is four counts: how
many items, and how many relevant ones, score higher (`ahead`) and the same (`tied`). They are counted for queries with
few relevant items and found in a sorted row for the others; the mathematics is then as small as the relevant items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mas_triplets.errors import UserError

MEMORY_BYTES = 256 * 2**20
"""Default bound on the working memory of `rank_metrics`."""

_COUNT_UP_TO = 128  # relevant items per query for which comparing with the whole row is faster than sorting the row
_COMPARE_BYTES = 16 * 2**20  # comparisons held at once, and
_CHUNK_BYTES = 64 * 2**20  # working memory of a chunk of queries: measured; larger ones leave the processor's caches
_EXACT_IN_FLOAT32 = 2**24  # a float32 counts up to here without loss
_FLOAT64_TEMPORARIES = 20  # upper bound of the (queries, relevant items) arrays of 8 bytes alive at once


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
    names = ["ap", *(f"ap@{k}" for k in ap_cutoffs), *(f"hit@{k}" for k in hit_cutoffs), "rr"]
    values = {name: scores.new_full((queries,), torch.nan, dtype=torch.float64) for name in names}

    gallery_rows = None if gallery is None else gallery.expand(queries, items)
    found, item = _relevant_items(relevant, gallery_rows, memory_bytes)
    begin = found.cumsum(0) - found
    order = found.argsort(descending=True, stable=True)  # like with like: rows are padded to their chunk's maximum
    item_bytes = items * (2 * max(4, scores.element_size()) + 16)  # a copy, sorted, with places; comparisons
    start = 0
    while start < queries:
        most = int(found[order[start]])
        row_bytes = item_bytes + most * 8 * _FLOAT64_TEMPORARIES
        rows = order[start : start + max(1, min(memory_bytes, _CHUNK_BYTES) // max(1, row_bytes))]
        start += len(rows)
        score, outside = _gallery_scores(scores, gallery_rows, rows)
        if most == 0:
            continue
        rows = rows[found[rows] > 0]  # the first ones
        slot = torch.arange(most, device=scores.device)
        present = slot < found[rows, None]
        mine = item[(begin[rows, None] + slot).clamp(max=len(item) - 1)]
        own = score[: len(rows)].gather(1, mine).masked_fill_(~present, -torch.inf)
        ties = _tie_groups(score[: len(rows)], own, outside[: len(rows)], found[rows])
        values["ap"][rows] = _average_precision(ties, None)
        for k in ap_cutoffs:
            values[f"ap@{k}"][rows] = _average_precision(ties, k)
        first = ties.first()
        for k in hit_cutoffs:
            values[f"hit@{k}"][rows] = _hit(first, k)
        values["rr"][rows] = _reciprocal_rank(first, memory_bytes)
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


@dataclass(frozen=True)
class _FirstGroup:
    """The best tie group that holds a relevant item, per query; each field is (n,) float64."""

    ahead: Tensor  # items that score higher
    tied: Tensor  # items in the group
    relevant_tied: Tensor  # relevant items in the group


@dataclass(frozen=True)
class _TieGroups:
    """The tie group of every relevant item, best first; fields are (n, M) float64, padded on the right."""

    ahead: Tensor  # a: items that score higher
    tied: Tensor  # g: items with the same score, itself included
    relevant_ahead: Tensor  # R: relevant items that score higher
    relevant_tied: Tensor  # r: relevant items with the same score, itself included
    present: Tensor  # (n, M) bool: not padding
    found: Tensor  # (n,) relevant items, at least 1

    def first(self) -> _FirstGroup:
        return _FirstGroup(self.ahead[:, 0], self.tied[:, 0], self.relevant_tied[:, 0])


def _average_precision(ties: _TieGroups, cutoff: int | None) -> Tensor:
    """Expected AP or AP@cutoff, (n,).

    McSherry and Najork 2008, section 2.5: a group of g items, r of them relevant, behind a items of which R are
    relevant, adds sum_{i=1..m} r/g (R + 1 + (i-1) rho) / (a+i), where rho = (r-1)/(g-1) and m = g, or fewer where the
    cutoff falls into the group. With D = sum_{i=1..m} 1/(a+i), sum_i (i-1)/(a+i) is m - (a+1) D. Each relevant item of
    the group carries 1/r of it here, which spares finding out where groups begin.
    """
    a, g = ties.ahead, ties.tied
    ranks = g if cutoff is None else (cutoff - a).clamp(min=0).minimum(g)
    rho = (ties.relevant_tied - 1) / (g - 1).clamp(min=1)
    inverse_ranks = _harmonic_between(a, a + ranks)
    share = (rho * ranks + (ties.relevant_ahead + 1 - rho * (a + 1)) * inverse_ranks) / g
    reachable = ties.found if cutoff is None else ties.found.clamp(max=cutoff)
    return (_row_sum(share.where(ties.present, 0.0)) / reachable).clamp(0, 1)  # rounding may leave [0, 1] by a bit


def _hit(first: _FirstGroup, k: int) -> Tensor:
    """Probability of a relevant item among the first k, (n,): 1 - C(g-r, m) / C(g, m) with m = k - a, in 0..g."""
    drawn = (k - first.ahead).clamp(min=0).minimum(first.tied)
    already = torch.arange(int(drawn.max()), dtype=torch.float64, device=drawn.device)
    chance = (first.relevant_tied[:, None] / (first.tied[:, None] - already).clamp(min=1)).clamp(max=1)
    log_miss = torch.log1p(-chance).where(already < drawn[:, None], 0.0)  # C(g-r, m) / C(g, m), factor by factor
    return torch.expm1(_row_sum(log_miss)).abs()


def _reciprocal_rank(first: _FirstGroup, memory_bytes: int) -> Tensor:
    """Expected 1 / rank of the first relevant item, (n,): sum_t C(g-t, r-1) / C(g, r) / (a+t) over t = 1..g-r+1.

    Closed for r = 1, where t is uniform, and for a = 0, from sum_t C(g-t, r-1) / t = C(g, r-1) (H_g - H_{r-1}).
    Otherwise summed, each probability from the one before by C(g-t-1, r-1) / C(g-t, r-1) = (g-t-r+1) / (g-t). The sum
    stops where less than exp(-45) of the probability is left, as P(T > t) <= (1 - r/g)^t <= exp(-t r/g).
    """
    a, g, r = first.ahead, first.tied, first.relevant_tied
    leading = a == 0
    low = (r - 1).where(leading, a)
    factor = (r / (g - r + 1)).where(leading, 1 / g)
    value = factor * _harmonic_between(low, low + (g - r + 1).where(leading, g))

    terms = (g - r + 1).minimum((45 * g / r).ceil())
    rest = ((~leading) & (r > 1)).nonzero().squeeze(1)
    rest = rest[terms[rest].argsort(descending=True, stable=True)]
    start = 0
    while start < len(rest):
        longest = int(terms[rest[start]])
        rows = rest[start : start + max(1, memory_bytes // (longest * 8 * 6))]
        start += len(rows)
        t = torch.arange(1, longest + 1, dtype=torch.float64, device=a.device)
        behind = g[rows, None] - t  # items of the group after position t
        probability = (behind + 1 - r[rows, None] + 1).clamp_(min=0).div_((behind + 1).clamp_(min=1))
        probability[:, 0] = r[rows] / g[rows]
        probability.cumprod_(1)
        value[rows] = _row_sum(probability.div_(a[rows, None] + t))
    return value.clamp(0, 1)


_HARMONIC = torch.cat([torch.zeros(1, dtype=torch.float64), 1 / torch.arange(1.0, 65.0, dtype=torch.float64)]).cumsum(0)
"""H_0 to H_64."""


def _harmonic_between(low: Tensor, high: Tensor) -> Tensor:
    """Return sum of 1/i for low < i <= high, to float64's relative precision: 1/3 + 1/4 + 1/5 for (2, 5).

    H_high - H_low would lose digits where both are large. Up to 64 a table is exact; above, with x = n + 1/2,
    H_n = const + ln x + 1/(24 x^2) - 7/(960 x^4) + 31/(8064 x^6) - ... (DLMF 5.11); the logarithms join in a log1p.
    """
    limit = len(_HARMONIC) - 1
    table = _HARMONIC.to(low.device)
    near = table[high.clamp(max=limit).long()] - table[low.clamp(max=limit).long()]
    x, y = low.clamp(min=limit) + 0.5, high.clamp(min=limit) + 0.5
    far = torch.log1p((y - x) / x) + _harmonic_correction(y) - _harmonic_correction(x)
    return (1 / high.clamp(min=1)).where(high == low + 1, near + far)


def _harmonic_correction(x: Tensor) -> Tensor:
    square = 1 / (x * x)
    return square * (1 / 24 - square * (7 / 960 - square * (31 / 8064)))


def _row_sum(values: Tensor) -> Tensor:
    """Sum along each row from left to right, so that zeros padded on the right do not change a bit."""
    return values.cumsum(1)[:, -1] if values.shape[1] else values.new_zeros(len(values))


def _tie_groups(score: Tensor, own: Tensor, outside: Tensor, found: Tensor) -> _TieGroups:
    """Count what is ahead of and tied with each relevant item.

    Args:
        score: (n, N), -inf for what is outside of the gallery.
        own: (n, M) the scores of the relevant items, padded with -inf.
        outside: (n,) how many of a row's items are outside of the gallery.
        found: (n,) how many relevant items a row has.
    """
    most = own.shape[1]
    present = torch.arange(most, device=own.device) < found[:, None]
    own = own.sort(dim=1, descending=True).values  # best first; and sums no longer depend on the gallery's order
    ahead, at_least = _count(score, own)
    relevant_ahead, relevant_at_least = _count(own, own)
    lowest = own == -torch.inf  # where it is a real score, what was padded with it is no tie
    tied = at_least - ahead - lowest * outside[:, None]
    relevant_tied = relevant_at_least - relevant_ahead - lowest * (most - found)[:, None]
    return _TieGroups(
        ahead=ahead.where(present, 0).double(),
        tied=tied.where(present, 1).double(),
        relevant_ahead=relevant_ahead.where(present, 0).double(),
        relevant_tied=relevant_tied.where(present, 1).double(),
        present=present,
        found=found.double(),
    )


def _count(row: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many entries of each row (n, N) are > and >= each of its values (n, M), as two (n, M) int64."""
    n, items = row.shape
    if values.shape[1] > _COUNT_UP_TO or items >= _EXACT_IN_FLOAT32:
        ascending = row.sort(dim=1).values
        values = values.contiguous()
        return items - torch.searchsorted(ascending, values, right=True), items - torch.searchsorted(ascending, values)

    greater = torch.empty(values.shape, dtype=torch.float32, device=row.device)
    at_least = torch.empty_like(greater)
    at_once = max(1, _COMPARE_BYTES // (4 * items))  # of the n * M comparisons with a row
    wide = min(at_once, values.shape[1])
    # Comparisons are written as 0.0 and 1.0 because float32 sums are many times faster than sums of bool.
    buffer = torch.empty(max(1, at_once // wide) * wide * items, dtype=torch.float32, device=row.device)
    for some in _slices(n, at_once // wide):
        for few in _slices(values.shape[1], wide):
            candidates, threshold = row[some, None, :], values[some, few, None]
            hits = buffer[: threshold.numel() * items].view(*threshold.shape[:2], items)
            greater[some, few] = torch.gt(candidates, threshold, out=hits).sum(-1)
            at_least[some, few] = torch.ge(candidates, threshold, out=hits).sum(-1)
    return greater.long(), at_least.long()


def _relevant_items(relevant: Tensor, gallery: Tensor | None, memory_bytes: int) -> tuple[Tensor, Tensor]:
    """Return the number of relevant items in each query's gallery, (Q,), and their columns, query after query."""
    queries, items = relevant.shape
    found = torch.zeros(queries, dtype=torch.int64, device=relevant.device)
    columns = [torch.zeros(0, dtype=torch.int64, device=relevant.device)]
    for rows in _slices(queries, min(memory_bytes, _CHUNK_BYTES) // max(1, 20 * items)):
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
    if torch.isnan(score.sum()):  # one fast pass: a NaN spreads into the sum; so does inf - inf, which is no error
        wrong = score.isnan().nonzero()
        if len(wrong):
            raise UserError(
                f"the score of query {int(rows[wrong[0, 0]])} for gallery item {int(wrong[0, 1])} is not a number "
                "(NaN): the model or the vectors that gave it are broken, mostly by training that diverged; lower the "
                "learning rate or the penalty's strength and train again"
            )
    return score, outside


def _slices(length: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    return (slice(start, start + step) for start in range(0, length, step))


def _check(scores: Tensor, relevant: Tensor, gallery: Tensor | None, cutoffs: Sequence[int]) -> None:
    if scores.ndim != 2 or not scores.is_floating_point():
        raise ValueError(f"scores must be (Q, N) floating point, not {tuple(scores.shape)} {scores.dtype}")
    if relevant.shape != scores.shape or relevant.dtype != torch.bool:
        raise ValueError(f"relevant must be {tuple(scores.shape)} bool, not {tuple(relevant.shape)} {relevant.dtype}")
    if gallery is not None and (gallery.dtype != torch.bool or gallery.shape not in (scores.shape, scores.shape[1:])):
        raise ValueError(f"gallery must be (N,) or (Q, N) bool, not {tuple(gallery.shape)} {gallery.dtype}")
    if any(k < 1 for k in cutoffs):
        raise ValueError(f"cutoffs start at 1: {list(cutoffs)}")
