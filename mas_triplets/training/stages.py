"""What each stage of a run learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mas_triplets.config import RunConfig, TrainConfig
from mas_triplets.data.format import PARTS
from mas_triplets.data.items import Items, Labels
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.splits import Split
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy
from mas_triplets.model.triplet import TripletModel


@dataclass(frozen=True)
class StageData:
    """What one stage learns from.

    Attributes:
        items: (n,) the training items that show at least one of the stage's facts.
        labels: which of the facts each shows.
        vectors: (M, 3, D) language embeddings of the facts.
        mask: (M, 3) their masks.
    """

    items: IntArray
    labels: Labels
    vectors: Tensor
    mask: Tensor

    def steps_per_epoch(self, config: TrainConfig) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(len(self.items) / config.batch_size)


def stages_of(split: Split, strategy: Strategy) -> list[tuple[int, ...]]:
    """Return the facts of each stage: those of a task, or of all tasks for a method that learns them at once."""
    if strategy.merges_tasks:
        return [tuple(sorted(fact for task in split.tasks for fact in task.fact_ids))]
    return [task.fact_ids for task in split.tasks]


def stage_data(
    config: RunConfig, items: Items, fact_ids: IntArray, dataset: PreparedDataset, model: TripletModel
) -> StageData:
    """Return what a stage with these facts learns from."""
    chosen = items.select(config.data.train_parts, fact_ids)
    vectors, mask = model.language.embed([dataset.facts[fact] for fact in fact_ids])
    device = next(model.parameters()).device
    return StageData(chosen, items.labels(chosen, fact_ids), vectors.to(device), mask.to(device))


def check_training_items(
    config: RunConfig, dataset: PreparedDataset, items: Items, split: Split, unreadable: int = 0
) -> None:
    """Check that every fact, or at least every task, has a training picture.

    Args:
        config: of the run.
        dataset: the data set.
        items: its items; those that cannot be read are in no part.
        split: the tasks.
        unreadable: how many pictures cannot be read, to be told.

    Raises:
        UserError: a fact has none and `data.unseen_facts` does not allow it, or a whole task has none.
    """
    codes = [PARTS.index(part) for part in config.data.train_parts]
    seen = items.pair_fact[np.isin(items.part[items.pair_item], codes)]
    counts = np.bincount(seen, minlength=len(dataset.facts))
    unseen = [str(dataset.facts[fact]) for fact in np.flatnonzero(counts == 0)]
    why = f" ({unreadable} pictures cannot be read)" if unreadable else ""
    if unseen and config.data.unseen_facts == "error":
        raise UserError(
            f"{len(unseen)} facts of {dataset.folder} have no picture in {' or '.join(config.data.train_parts)}{why}, "
            f"such as {', '.join(unseen[:3])}: add pictures of them, or set data.unseen_facts=allow to learn the "
            "others and judge these as unseen"
        )
    for task in split.tasks:
        if not counts[list(task.fact_ids)].any():
            raise UserError(
                f"{task.name} of split '{split.name}' has no training picture at all{why}: make another split"
            )
