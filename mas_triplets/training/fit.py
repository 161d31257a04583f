"""Learning one stage: epochs, batches, the optimiser, the strategy's part in each step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mas_triplets.config import TrainConfig
from mas_triplets.data.items import Labels
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy
from mas_triplets.model.inputs import ItemInputs
from mas_triplets.model.losses import Loss
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.state import epoch_seed


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

    def steps(self, config: TrainConfig) -> int:
        """Optimiser steps of the stage."""
        return config.epochs * math.ceil(len(self.items) / config.batch_size)


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the rate of step `step` (from 0): a linear rise over the warm-up, then half a cosine to zero.

    Example: 10 steps, warm-up 0.2, rate 1: 0.5, 1.0, then 0.5 (1 + cos(pi t)) at t = 1/9, 2/9, ... 8/9.
    """
    warm = round(config.warmup * steps)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (steps - warm + 1)))


def fit_stage(
    model: TripletModel,
    strategy: Strategy,
    loss: Loss,
    inputs: ItemInputs,
    data: StageData,
    config: TrainConfig,
    *,
    seed: int,
    stage: int,
    on_epoch: Callable[[int, dict[str, Any]], None],
) -> Iterator[None]:
    """Learn one stage in place, yielding after each optimiser step; `on_epoch(epoch, record)` gets what to log.

    The optimiser starts anew for each stage: moments of an earlier task would move weights the penalty holds.

    Raises:
        UserError: the loss is no longer finite.
    """
    optimiser = _optimiser(model, config)
    steps = data.steps(config)
    step = 0
    model.train()
    with torch.random.fork_rng(devices=[]):
        for epoch in range(config.epochs):
            began, total = time.monotonic(), torch.zeros(())
            epoch_number = epoch_seed(seed, stage, epoch)
            torch.manual_seed(epoch_number)
            order = np.random.default_rng(epoch_number).permutation(len(data.items))
            rate = 0.0
            for start in range(0, len(order), config.batch_size):
                rows = order[start : start + config.batch_size]
                rate = learning_rate(step, steps, config)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                relevance = torch.from_numpy(data.labels.rows(rows)).to(data.vectors)
                embedding = model(inputs.batch(data.items[rows])).view(len(rows), 3, model.dim)
                value = loss(embedding, data.vectors, data.mask, relevance)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                strategy.after_backward(model)
                optimiser.step()
                strategy.after_step(model, rate)
                total += value.detach().cpu() * len(rows)
                step += 1
                yield
            mean, penalty = float(total) / len(order), strategy.penalty(model)
            if not math.isfinite(mean) or not math.isfinite(penalty):
                raise UserError(
                    f"the loss is {mean} and the penalty {penalty} in epoch {epoch + 1}: lower train.learning_rate, "
                    "or lifelong.strength if the penalty is applied in the gradient; finished tasks are kept"
                )
            record = {"epoch": epoch + 1, "loss": mean, "penalty": penalty, "learning_rate": rate}
            on_epoch(epoch, {**record, "images_per_second": round(len(order) / (time.monotonic() - began), 1)})
    model.eval()


def _optimiser(model: TripletModel, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
