"""What is ahead of and tied with each relevant item: all that ranking metrics need of a row of scores.

Four counts an item: how many items, and how many relevant ones, score higher (`ahead`) and the same (`tied`). They are
counted by comparing for queries with few relevant items, and found in a sorted row for the others; the mathematics that
follows is then as small as the relevant items.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_COMPARE_UP_TO = 4  # relevant items per query for which comparing with the whole row is faster than sorting the row
_COMPARE_UP_TO_ELSEWHERE = 128  # the same where PyTorch sorts, on a GPU
_SORT_ALONE = 2**16  # scores that are sorted before another thread is worth starting
_COMPARE_BYTES = 16 * 2**20  # comparisons held at once: measured; more leave the processor's caches
_EXACT_IN_FLOAT32 = 2**24  # a float32 counts up to here without loss


@dataclass(frozen=True)
class FirstGroup:
    """The best tie group that holds a relevant item, per query; each field is (n,) float64."""

    ahead: Tensor  # items that score higher
    tied: Tensor  # items in the group
    relevant_tied: Tensor  # relevant items in the group


@dataclass(frozen=True)
class TieGroups:
    """The tie group of every relevant item, best first; fields are (n, M) float64, padded on the right."""

    ahead: Tensor  # a: items that score higher
    tied: Tensor  # g: items with the same score, itself included
    relevant_ahead: Tensor  # R: relevant items that score higher
    relevant_tied: Tensor  # r: relevant items with the same score, itself included
    present: Tensor  # (n, M) bool: not padding
    found: Tensor  # (n,) relevant items, at least 1

    def first(self) -> FirstGroup:
        """Return the best group of each query."""
        return FirstGroup(self.ahead[:, 0], self.tied[:, 0], self.relevant_tied[:, 0])


def tie_groups(score: Tensor, own: Tensor, outside: Tensor, found: Tensor, memory_bytes: int) -> TieGroups:
    """Count what is ahead of and tied with each relevant item.

    Args:
        score: (n, N) float32 or float64, -inf for what is outside of the gallery; its rows may come back sorted.
        own: (n, M) the scores of the relevant items, padded with -inf.
        outside: (n,) how many of a row's items are outside of the gallery.
        found: (n,) how many relevant items a row has.
        memory_bytes: bound on the comparisons that are held at once.
    """
    most = own.shape[1]
    present = torch.arange(most, device=own.device) < found[:, None]
    own = own.sort(dim=1, descending=True).values  # best first; and sums no longer depend on the gallery's order
    ahead, at_least = _count(score, own, memory_bytes)
    relevant_ahead, relevant_at_least = _count(own.clone(), own, memory_bytes)
    lowest = own == -torch.inf  # where it is a real score, what was padded with it is no tie
    tied = at_least - ahead - lowest * outside[:, None]
    relevant_tied = relevant_at_least - relevant_ahead - lowest * (most - found)[:, None]
    return TieGroups(
        ahead=ahead.where(present, 0).double(),
        tied=tied.where(present, 1).double(),
        relevant_ahead=relevant_ahead.where(present, 0).double(),
        relevant_tied=relevant_tied.where(present, 1).double(),
        present=present,
        found=found.double(),
    )


def _count(row: Tensor, values: Tensor, memory_bytes: int) -> tuple[Tensor, Tensor]:
    """Return how many entries of each row (n, N) are > and >= each of its values (n, M), as two (n, M) int64.

    The rows may come back sorted.
    """
    n, items = row.shape
    few_values = _COMPARE_UP_TO if row.device.type == "cpu" else _COMPARE_UP_TO_ELSEWHERE
    if values.shape[1] > few_values or items >= _EXACT_IN_FLOAT32:
        ascending = _sorted_in_place(row) if row.device.type == "cpu" else row.sort(dim=1).values
        values = values.contiguous()
        return items - torch.searchsorted(ascending, values, right=True), items - torch.searchsorted(ascending, values)

    greater = torch.empty(values.shape, dtype=torch.float32, device=row.device)
    at_least = torch.empty_like(greater)
    at_once = max(1, min(_COMPARE_BYTES, memory_bytes) // (4 * items))  # of the n * M comparisons with a row
    wide = min(at_once, values.shape[1])
    # Comparisons are written as 0.0 and 1.0 because float32 sums are many times faster than sums of bool.
    buffer = torch.empty(max(1, at_once // wide) * wide * items, dtype=torch.float32, device=row.device)
    for some in slices(n, at_once // wide):
        for few in slices(values.shape[1], wide):
            candidates, threshold = row[some, None, :], values[some, few, None]
            hits = buffer[: threshold.numel() * items].view(*threshold.shape[:2], items)
            greater[some, few] = torch.gt(candidates, threshold, out=hits).sum(-1)
            at_least[some, few] = torch.ge(candidates, threshold, out=hits).sum(-1)
    return greater.long(), at_least.long()


def _sorted_in_place(row: Tensor) -> Tensor:
    """Sort each row of (n, N) in place, in as many threads as PyTorch has, and return it.

    NumPy sorts floats with vector instructions and without their places, an order faster than `torch.sort`.
    """
    array: npt.NDArray[np.floating[Any]] = row.numpy()
    threads = min(torch.get_num_threads(), len(array), array.size // _SORT_ALONE)
    if threads <= 1:
        array.sort(axis=1)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: part.sort(axis=1), np.array_split(array, threads)))
    return row.contiguous()


def slices(length: int, step: int) -> Iterator[slice]:
    """Return slices of `step` that cover 0 to `length`: 0 to 2 and 2 to 3 for (3, 2)."""
    step = max(1, step)
    return (slice(start, start + step) for start in range(0, length, step))
