"""Averaging weights over tasks: the cheap baseline that is often hard to beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task


class WeightAveraging(Strategy):
    """After task t the weights are (t - 1)/t theta_(t-1) + 1/t theta: the mean over tasks of what each was learnt to.

    The running statistics of BatchNorm are averaged with the weights. The next task begins at the mean, and nothing but
    it is kept. (Wortsman et al., "Model soups", ICML 2022;
    Stojanovski et al., "Momentum-based Weight Interpolation of Strong Zero-Shot Models for Continual Learning", 2022.)
    """

    name = "averaging"
    settles = True
    needs_boundaries = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._mean: dict[str, Tensor] = {}

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of the mean."""
        return sum(value.numel() * value.element_size() for value in learnt_values(model).values())

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Put the mean in the place of the weights."""
        with torch.no_grad():
            for name, value in learnt_values(model).items():
                if task.number > 1:
                    value.copy_(self._mean[name].lerp(value, 1 / task.number))
                self._mean[name] = value.detach().clone()
        return {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the mean."""
        return dict(self._mean)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._mean = dict(tensors)


def learnt_values(model: nn.Module) -> dict[str, Tensor]:
    """Return what learning changes, by name: parameters that are learnt, and running statistics."""
    learnt = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {**learnt, **{name: value for name, value in model.named_buffers() if value.is_floating_point()}}
