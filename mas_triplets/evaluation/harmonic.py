"""Sums of 1/i over a range of ranks, exact to the last digits however far down the ranking they are."""

from __future__ import annotations

import torch
from torch import Tensor

_INVERSE = torch.cat([torch.zeros(1, dtype=torch.float64), 1 / torch.arange(1.0, 65.0, dtype=torch.float64)])
_TABLE = _INVERSE.expand(65, 65).triu(1).cumsum(1)
"""(65, 65): the sum of 1/i for row < i <= column, each summed by itself; H_47 - H_45 would lose two digits."""


def harmonic_between(low: Tensor, high: Tensor) -> Tensor:
    """Return sum of 1/i for low < i <= high, to float64's relative precision: 1/3 + 1/4 + 1/5 for (2, 5).

    H_high - H_low would lose digits where both are large. Up to 64 there is a table; above, with x = n + 1/2,
    H_n = const + ln x + 1/(24 x^2) - 7/(960 x^4) + 31/(8064 x^6) - ... (DLMF 5.11); the logarithms join in a log1p.
    """
    limit = len(_TABLE) - 1
    table = _TABLE.to(low.device)
    near = table[low.clamp(max=limit).long(), high.clamp(max=limit).long()]
    x, y = low.clamp(min=limit) + 0.5, high.clamp(min=limit) + 0.5
    far = torch.log1p((y - x) / x) + _correction(y) - _correction(x)
    return (1 / high.clamp(min=1)).where(high == low + 1, near + far)


def _correction(x: Tensor) -> Tensor:
    square = 1 / (x * x)
    return square * (1 / 24 - square * (7 / 960 - square * (31 / 8064)))
