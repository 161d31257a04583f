"""Replay: a bounded reservoir of earlier (picture, fact) pairs, mixed into each batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import IntArray, Task


class Replay(Strategy):
    """Keeps a uniform sample of the pairs seen so far (reservoir sampling, Vitter 1985), or of those of each fact.

    Each pair draws a number in [0, 1) when it is seen; those with the highest are kept. That is the reservoir's
    distribution, and needs no order. What is stored is told in pictures and in bytes of what the model is fed.
    """

    name = "replay"
    reads = ("memory.pairs", "memory.per_fact", "memory.bytes", "memory.share")
    needs_boundaries = True  # pairs are let in when a task ends

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._item: IntArray = np.empty(0, dtype=np.int64)
        self._fact: IntArray = np.empty(0, dtype=np.int64)
        self._key = np.empty(0, dtype=np.float64)

    def rehearsed(self) -> tuple[IntArray, IntArray] | None:
        """Return the stored pairs."""
        return (self._item, self._fact) if len(self._item) else None

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Let the task's pairs into the reservoir; return what it holds."""
        del model
        bytes_each = self._bytes_of_a_picture(task)
        if not bytes_each:
            return {}
        generator = np.random.default_rng((self.seed, task.number))
        item = np.concatenate([self._item, task.pair_item])
        fact = np.concatenate([self._fact, task.pair_fact])
        key = np.concatenate([self._key, generator.random(len(task.pair_item))])
        kept = highest(key, fact, *self._bounds(bytes_each))
        self._item, self._fact, self._key = item[kept], fact[kept], key[kept]
        pictures = len(np.unique(self._item))
        return {"memory": {"pairs": len(kept), "pictures": pictures, "bytes": pictures * bytes_each}}

    def _bytes_of_a_picture(self, task: Task) -> int:
        """Return the bytes of what the model is fed for one picture; 0 if there is none in any process."""
        first = next(iter(task.inputs()), None)
        found = torch.tensor([0, 0] if first is None else [first[0].numel() * first.element_size(), 1])
        if self.combine is not None:  # a process may have no picture of the task, but all must keep the same pairs
            found = self.combine(found.to(task.vectors.device))
        total, processes = (int(value) for value in found)
        return total // max(1, processes)

    def _bounds(self, bytes_each: int) -> tuple[int | None, int | None]:
        """Return how many pairs in all, and how many of each fact; by bytes a pair counts as a picture of its own."""
        memory = self.config.memory
        if memory.bytes is not None:
            if memory.bytes < bytes_each:
                raise UserError(
                    f"lifelong.memory.bytes is {memory.bytes}, but one picture takes {bytes_each}: allow more"
                )
            return memory.bytes // bytes_each, None
        if memory.pairs is None and memory.per_fact is None:
            return None, 5
        return memory.pairs, memory.per_fact

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the pairs and their numbers."""
        if not len(self._item):
            return {}
        return {
            "item": torch.from_numpy(self._item),
            "fact": torch.from_numpy(self._fact),
            "key": torch.from_numpy(self._key),
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        if tensors:
            self._item, self._fact, self._key = (tensors[name].cpu().numpy() for name in ("item", "fact", "key"))


def highest(key: np.ndarray[Any, Any], fact: IntArray, most: int | None, most_of_each: int | None) -> IntArray:
    """Return the places, ascending, of the pairs with the highest keys.

    Args:
        key: (P,) numbers, all different.
        fact: (P,) the fact of each pair.
        most: how many in all; None for no bound.
        most_of_each: how many of each fact; None for no bound.

    Example: keys 0.1, 0.9, 0.5 of facts 7, 7, 8: two in all are places 1 and 2, and so is one of each fact.
    """
    if most_of_each is not None:
        order = np.lexsort((-key, fact))
        _, start, count = np.unique(fact[order], return_index=True, return_counts=True)
        within = np.arange(len(key)) - np.repeat(start, count)
        return np.sort(order[within < most_of_each])
    return np.sort(np.argsort(-key)[:most])
