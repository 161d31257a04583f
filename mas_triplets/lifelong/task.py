"""What a method is given of a task: its pictures, and their labels for the methods that need them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.config import LossConfig

IntArray = npt.NDArray[np.int64]
Inputs = Callable[[], Iterable[Tensor]]
"""Gives what the model is fed for the task's training pictures, a batch at a time; each call begins anew."""
Labelled = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives inputs (n, ...) and relevance (n, M), 1.0 where a fact holds in a picture, a batch at a time."""


def _no_ids() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Task:
    """One task, as a method sees it. In several processes each sees its own pictures, rank::processes of all.

    Attributes:
        number: from 1.
        inputs: of its training pictures; with their importance no label is used.
        labelled: the same with labels.
        vectors: (M, 3, D) language embeddings of its facts.
        mask: (M, 3) their masks.
        fact_ids: (M,) their numbers in the data set.
        pair_item: (P,) the items of its (item, fact) pairs, in all processes the same.
        pair_fact: (P,) their facts, numbers in the data set.
        loss: the loss it is learnt with.
    """

    number: int
    inputs: Inputs
    labelled: Labelled = tuple
    vectors: Tensor = field(default_factory=lambda: torch.empty(0, 3, 0))
    mask: Tensor = field(default_factory=lambda: torch.empty(0, 3))
    fact_ids: IntArray = field(default_factory=_no_ids)
    pair_item: IntArray = field(default_factory=_no_ids)
    pair_fact: IntArray = field(default_factory=_no_ids)
    loss: LossConfig = field(default_factory=LossConfig)
