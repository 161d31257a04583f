"""The rows that batches are made of: the items of a stage, and the stored pairs of earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.data.prepared import IntArray
from mas_triplets.training.stages import StageData


@dataclass(frozen=True)
class Rows:
    """What batches are made of. Row r < own is an item of the stage; the others are stored pairs.

    A stored pair stands for its picture with all that is known of it: the stored facts and, if the stage has the
    picture too, those of the stage.

    Attributes:
        items: (R,) the item of each row.
        own: how many rows are the stage's.
        place: (R,) row of `labels` of each row.
        labels: which of the facts each distinct item shows.
        vectors: (M, 3, D) language embeddings of the facts: the stage's, then those stored.
        mask: (M, 3) their masks.
    """

    items: IntArray
    own: int
    place: IntArray
    labels: Labels
    vectors: Tensor
    mask: Tensor

    def relevance(self, rows: IntArray) -> Tensor:
        """Return (len(rows), M) float: 1 where a fact is known to hold in the picture of a row."""
        return torch.from_numpy(self.labels.rows(self.place[rows])).to(self.vectors)

    def drawn(self, count: int, generator: np.random.Generator) -> IntArray:
        """Return `count` different rows of stored pairs, drawn at random; all of them if there are fewer."""
        stored = len(self.items) - self.own
        return self.own + generator.permutation(stored)[:count]


def rows_of(data: StageData, stored: tuple[IntArray, IntArray] | None, vectors: Tensor, mask: Tensor) -> Rows:
    """Return the rows of a stage.

    Args:
        data: the stage.
        stored: items (m,) and fact_ids (m,) of the stored pairs; None if nothing is stored.
        vectors: (F, 3, D) language embeddings of all facts of the data set.
        mask: (F, 3) their masks.
    """
    if stored is None:
        return Rows(data.items, len(data.items), np.arange(len(data.items)), data.labels, data.vectors, data.mask)
    item, fact = stored
    items = np.concatenate([data.items, item])
    distinct, place = np.unique(items, return_inverse=True)
    facts = np.concatenate([data.fact_ids, np.setdiff1d(fact, data.fact_ids)])
    column = np.empty(len(vectors), dtype=np.int64)
    column[facts] = np.arange(len(facts))
    own_item, own_fact = data.pairs()
    row = np.searchsorted(distinct, np.concatenate([own_item, item]))
    code = np.unique(row * len(facts) + column[np.concatenate([own_fact, fact])])  # a pair may be in both
    labels = Labels.of_pairs(code // len(facts), code % len(facts), len(distinct), len(facts))
    chosen = torch.from_numpy(facts).to(vectors.device)
    return Rows(items, len(data.items), place, labels, vectors[chosen], mask[chosen])
