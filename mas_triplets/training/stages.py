"""What each stage of a run learns from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mas_triplets.config import LossConfig, RunConfig, TrainConfig
from mas_triplets.data.format import PARTS
from mas_triplets.data.items import Items, Labels, items_of
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.splits import Split
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Task, merges_tasks
from mas_triplets.model.inputs import BATCH, ItemInputs
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent
from mas_triplets.training.processes import Processes


@dataclass(frozen=True)
class StageData:
    """What one stage learns from.

    Attributes:
        items: (n,) the training items, ascending, that show at least one of the stage's facts.
        fact_ids: (M,) the stage's facts.
        labels: which of the facts each shows.
        vectors: (M, 3, D) language embeddings of the facts.
        mask: (M, 3) their masks.
    """

    items: IntArray
    fact_ids: IntArray
    labels: Labels
    vectors: Tensor
    mask: Tensor

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return the item and the fact_id of every pair to learn from."""
        row, column = self.labels.pairs()
        return self.items[row], self.fact_ids[column]

    def steps_per_epoch(self, config: TrainConfig) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(len(self.items) / config.batch_size)


def task_of(
    data: StageData, number: int, loss: LossConfig, inputs: ItemInputs, processes: Processes, progress: Silent = SILENT
) -> Task:
    """Return a stage as a method sees it: in several processes each has its share of the pictures, and all pairs.

    Args:
        data: of the stage.
        number: of the stage, from 1.
        loss: what it is learnt with.
        inputs: of all items.
        processes: those that train together.
        progress: who is told how far each pass through the pictures is.
    """
    share = processes.share(np.arange(len(data.items)))
    batches = -(-len(share) // BATCH)
    device = data.vectors.device

    def labelled() -> Iterator[tuple[Tensor, Tensor]]:
        found = inputs.batches(data.items[share])
        for start, (positions, batch) in zip(range(0, len(share), BATCH), found, strict=True):
            if len(batch):
                relevance = data.labels.rows(share[start + positions])
                yield batch, torch.from_numpy(relevance).to(device, torch.float32)

    what = f"looking back at task {number}"
    item, fact = data.pairs()
    return Task(
        number,
        lambda: progress.track(inputs.inputs(data.items[share]), what, batches),
        lambda: progress.track(labelled(), what, batches),
        data.vectors,
        data.mask,
        data.fact_ids,
        item,
        fact,
        loss,
    )


def stages_of(split: Split, method: str) -> list[tuple[int, ...]]:
    """Return the facts of each stage: those of a task, or of all tasks for a method that learns them at once."""
    if merges_tasks(method):
        return [tuple(sorted(fact for task in split.tasks for fact in task.fact_ids))]
    return [task.fact_ids for task in split.tasks]


def stage_data(
    config: RunConfig, items: Items, fact_ids: IntArray, dataset: PreparedDataset, model: TripletModel
) -> StageData:
    """Return what a stage with these facts learns from."""
    chosen = items.select(config.data.train_parts, fact_ids)
    vectors, mask = model.language.embed([dataset.facts[fact] for fact in fact_ids])
    device = next(model.parameters()).device
    return StageData(chosen, fact_ids, items.labels(chosen, fact_ids), vectors.to(device), mask.to(device))


def training_items(config: RunConfig, dataset: PreparedDataset, split: Split) -> Items:
    """Return the items of a data set with what a run may learn of them: see `data.shared_pictures`."""
    items = items_of(dataset, config.data.region)
    if config.data.shared_pictures:
        return items
    return items.in_one_task([np.array(task.fact_ids) for task in split.tasks], config.data.train_parts, split.seed)


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
    if not config.data.shared_pictures:
        why += ", each picture being learnt from in one task (data.shared_pictures=false)"
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
