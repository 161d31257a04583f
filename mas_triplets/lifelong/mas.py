"""Memory Aware Synapses (Aljundi et al., ECCV 2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.local import local_outputs
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.lifelong.strategy import Strategy, share_of
from mas_triplets.lifelong.task import Task
from mas_triplets.model.triplet import slot_scores

MEASURE = ("statistic", "mode", "scope", "output", "balance", "max_samples")
"""Keys of how the importance is measured."""


class MemoryAwareSynapses(QuadraticStrategy):
    """Omega_p = 1/N sum_n |d ||F(x_n)||^2 / d theta_p| over the task's training pictures (Eq. 3).

    By default no label is used. The configuration may put another output in the place of the embedding F, or weigh the
    pictures; what then needs labels takes those of the task just learnt.
    In several processes each is given its own samples, rank::processes of all; the sums are combined.
    """

    name = "mas"
    reads = (*QuadraticStrategy.reads, *MEASURE)

    def measure(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        """Estimate the importance on the task's pictures, the first `max_samples` of all processes together."""
        return importance_of(self, model, task)


def importance_of(method: Strategy, model: nn.Module, task: Task) -> dict[str, Tensor]:
    """Return the importance of a task as a method's configuration says, by parameter name.

    Args:
        method: whose configuration and processes are meant.
        model: the model.
        task: on whose pictures it is estimated, the first `max_samples` of all processes together.

    Raises:
        UserError: `scope: local` with another output than the embedding.
    """
    config = method.config
    if config.scope == "local" and config.output != "embedding":
        raise UserError("lifelong.scope=local measures each layer's own output: leave lifelong.output=embedding")
    most = share_of(config.max_samples, method.rank, method.processes)
    plain = config.output == "embedding" and config.balance == "pictures"
    chosen = _Output(config, task)
    options: dict[str, Any] = {} if plain and config.scope == "global" else {"output": chosen}
    batches = task.inputs if plain else task.labelled
    return estimate_importance(
        model,
        batches() if most != 0 else (),
        statistic=config.statistic,
        mode=config.mode,
        max_samples=most or None,
        combine=method.combine,
        **options,
    )


class _Output:
    """What of the model is kept from changing: (model, batch) -> (n, numbers), differentiable."""

    def __init__(self, config: LifelongConfig, task: Task) -> None:
        self._kind, self._balance, self._scope = config.output, config.balance, config.scope
        self._vectors, self._mask = task.vectors, task.mask
        # ||w^a F||^2 has the gradient w^(2a) g: |g| is weighed by w with a = 1/2, g^2 with a = 1/4
        self._power = 0.25 if config.statistic == "square" else 0.5
        counts = np.bincount(np.searchsorted(task.fact_ids, task.pair_fact), minlength=len(task.fact_ids))
        pictures, seen = len(np.unique(task.pair_item)), max(1, int((counts > 0).sum()))
        each = torch.from_numpy(pictures / (seen * counts.clip(min=1)))
        self._weight_of_fact = each.to(self._vectors)

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, relevance = batch if isinstance(batch, tuple | list) else (batch, None)
        if self._scope == "local":
            rows = local_outputs(model, inputs)
        else:
            rows = model(inputs)
            if self._kind == "logits":
                rows = slot_scores(rows, self._vectors, self._mask, "cosine")
            elif self._kind == "present":
                assert relevance is not None
                present = ((relevance @ self._mask) > 0).to(rows)
                rows = (rows.view(len(rows), 3, -1) * present.unsqueeze(-1)).flatten(1)
        if self._balance == "facts":
            assert relevance is not None
            # a picture counts as much as its facts are rare, and 1 on average over the pictures
            rows = rows * (relevance @ self._weight_of_fact).pow(self._power).unsqueeze(1)
        return rows
