"""Expected ranking metrics where equal scores come in a uniformly random order, in closed form, from counts of ties.

McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores",
ECIR 2008. All values are float64 and in [0, 1]; n is the number of queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mas_triplets.evaluation.harmonic import harmonic_between
from mas_triplets.evaluation.ties import FirstGroup, TieGroups


def average_precision(ties: TieGroups, cutoff: int | None) -> Tensor:
    """Expected AP or AP@cutoff, (n,).

    McSherry and Najork 2008, section 2.5: a group of g items, r of them relevant, behind a items of which R are
    relevant, adds sum_{i=1..m} r/g (R + 1 + (i-1) rho) / (a+i), where rho = (r-1)/(g-1) and m = g, or fewer where the
    cutoff falls into the group. With D = sum_{i=1..m} 1/(a+i), sum_i (i-1)/(a+i) is m - (a+1) D. Each relevant item of
    the group carries 1/r of it here, which spares finding out where groups begin.
    """
    a, g = ties.ahead, ties.tied
    ranks = g if cutoff is None else (cutoff - a).clamp(min=0).minimum(g)
    rho = (ties.relevant_tied - 1) / (g - 1).clamp(min=1)
    inverse_ranks = harmonic_between(a, a + ranks)
    share = (rho * ranks + (ties.relevant_ahead + 1 - rho * (a + 1)) * inverse_ranks) / g
    reachable = ties.found if cutoff is None else ties.found.clamp(max=cutoff)
    return (_row_sum(share.where(ties.present, 0.0)) / reachable).clamp(0, 1)  # rounding may leave [0, 1] by a bit


def hit(first: FirstGroup, k: int) -> Tensor:
    """Probability of a relevant item among the first k, (n,): 1 - C(g-r, m) / C(g, m) with m = k - a, in 0..g."""
    drawn = (k - first.ahead).clamp(min=0).minimum(first.tied)
    already = torch.arange(int(drawn.max()), dtype=torch.float64, device=drawn.device)
    chance = (first.relevant_tied[:, None] / (first.tied[:, None] - already).clamp(min=1)).clamp(max=1)
    log_miss = torch.log1p(-chance).where(already < drawn[:, None], 0.0)  # C(g-r, m) / C(g, m), factor by factor
    return torch.expm1(_row_sum(log_miss)).abs()


def reciprocal_rank(first: FirstGroup, memory_bytes: int) -> Tensor:
    """Expected 1 / rank of the first relevant item, (n,): sum_t C(g-t, r-1) / C(g, r) / (a+t) over t = 1..g-r+1.

    Closed for r = 1, where t is uniform, and for a = 0, from sum_t C(g-t, r-1) / t = C(g, r-1) (H_g - H_{r-1}).
    Otherwise summed, each probability from the one before by C(g-t-1, r-1) / C(g-t, r-1) = (g-t-r+1) / (g-t). The sum
    stops where less than exp(-45) of the probability is left, as P(T > t) <= (1 - r/g)^t <= exp(-t r/g).
    """
    a, g, r = first.ahead, first.tied, first.relevant_tied
    leading = a == 0
    low = (r - 1).where(leading, a)
    factor = (r / (g - r + 1)).where(leading, 1 / g)
    value = factor * harmonic_between(low, low + (g - r + 1).where(leading, g))

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


def _row_sum(values: Tensor) -> Tensor:
    """Sum along each row from left to right, so that zeros padded on the right do not change a bit."""
    return values.cumsum(1)[:, -1] if values.shape[1] else values.new_zeros(len(values))
