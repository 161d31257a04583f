"""What is asked of a model: the facts of each task, and the pictures of one part that show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from mas_triplets.data.items import Items
from mas_triplets.data.prepared import IntArray


@dataclass(frozen=True)
class Benchmark:
    """What is asked: the facts of each task and the pictures of one part that show them.

    Attributes:
        items: all items of the data set.
        generalised: the same items with the generalisations of their facts; `items` itself where they have them all.
        parts: the part, or parts, whose pictures form the galleries.
        tasks: the fact_ids of each task.
        vectors: (F, 3, D) language embeddings of all facts of the data set.
        mask: (F, 3) their masks.
        score: `cosine` or `euclidean`.
    """

    items: Items
    generalised: Items
    parts: tuple[str, ...]
    tasks: tuple[IntArray, ...]
    vectors: Tensor
    mask: Tensor
    score: str

    @cached_property
    def task_items(self) -> tuple[IntArray, ...]:
        """The items, ascending, that show a fact of each task."""
        return tuple(self.items.select(self.parts, facts) for facts in self.tasks)

    def items_of_tasks(self, tasks: Sequence[int]) -> IntArray:
        """The items, ascending, that show a fact of one of the tasks (numbers from 0)."""
        return np.unique(np.concatenate([self.task_items[task] for task in tasks]))

    def facts_of_tasks(self, tasks: Sequence[int]) -> IntArray:
        """The facts, ascending, of the tasks (numbers from 0)."""
        return np.sort(np.concatenate([self.tasks[task] for task in tasks]))

    def without(self, images: Collection[int]) -> Benchmark:
        """Return the same question with the pictures `images` in no gallery."""
        items = self.items.without(images)
        generalised = items if self.generalised is self.items else self.generalised.without(images)
        return dataclasses.replace(self, items=items, generalised=generalised)
