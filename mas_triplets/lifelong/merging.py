"""Merging by importance: MAS after the fact, old weights and new ones each held by the importance of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.averaging import learnt_values
from mas_triplets.lifelong.mas import MEASURE, importance_of
from mas_triplets.lifelong.omega import OMEGA, accumulate, describe, prepared
from mas_triplets.lifelong.quadratic import under
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task


class ImportanceMerging(Strategy):
    """After each task, theta <- (lambda Omega_old theta_old + Omega_new theta_new) / (lambda Omega_old + Omega_new).

    The task is learnt freely; then each weight becomes the mean of what it was and what it is, weighted by the
    importance (MAS, Eq. 3) that it had for the tasks before and has for this one. That is the minimum of

        lambda sum_p Omega_old,p (theta_p - theta_old,p)^2 + sum_p Omega_new,p (theta_p - theta_new,p)^2,

    the objective of MAS (Eq. 4) with the new task's loss replaced by its own penalty around where it was learnt. lambda
    is `strength`; 1 counts every task alike. With `control: uniform` it is the average over tasks. (With the Fisher as
    importance: Matena and Raffel, "Merging Models with Fisher-Weighted Averaging", NeurIPS 2022; Lee et al., mode-IMM,
    NeurIPS 2017.) Running statistics of BatchNorm are averaged over tasks.
    """

    name = "merging"
    reads = ("strength", *OMEGA, *MEASURE)
    tuned: ClassVar[Mapping[str, tuple[float, ...]]] = {"lifelong.strength": (0.25, 0.5, 1, 2, 4, 8)}
    settles = True
    needs_boundaries = True

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._importance: dict[str, Tensor] = {}
        self._merged: dict[str, Tensor] = {}
        self._tasks = 0

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of importance and merged weights."""
        learnt = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return 4 * learnt + sum(value.numel() * value.element_size() for value in learnt_values(model).values())

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Measure the task's importance, put the merged weights in the place of the learnt ones, add the importance."""
        measured = importance_of(self, model, task)
        omega = prepared(measured, self.config, self.seed)
        with torch.no_grad():
            for name, value in learnt_values(model).items():
                if self._tasks:
                    share: Tensor | float = 1 / (self._tasks + 1)
                    if name in omega:
                        share = share_of_new(self._importance[name], omega[name], self.config.strength).to(value)
                    value.copy_(torch.lerp(self._merged[name], value, share))
                self._merged[name] = value.detach().clone()
        self._importance = accumulate(self._importance, omega, self.config, self._tasks)
        self._tasks += 1
        return {"importance": {name: describe(value) for name, value in measured.items()}}

    def importance(self) -> dict[str, Tensor]:
        """Return the accumulated importance by parameter name."""
        return self._importance

    def state_tensors(self) -> dict[str, Tensor]:
        """Return importance, merged weights and the number of tasks."""
        if not self._tasks:
            return {}
        return {
            "tasks": torch.tensor(self._tasks),
            **{f"importance/{name}": value for name, value in self._importance.items()},
            **{f"merged/{name}": value for name, value in self._merged.items()},
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._tasks = int(tensors["tasks"]) if tensors else 0
        self._importance, self._merged = under(tensors, "importance/"), under(tensors, "merged/")


def share_of_new(old: Tensor, new: Tensor, strength: float) -> Tensor:
    """Return the share of the new weight in the mean, Omega_new / (lambda Omega_old + Omega_new), in [0, 1].

    Where neither counts there is nothing to hold, and the new weight stays: the share is 1.

    Example: old 3 and new 1 give 1/4 at strength 1 and 1/2 at strength 1/3.
    """
    total = strength * old + new
    return torch.where(total > 0, new / total, 1.0)
