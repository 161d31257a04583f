"""Averaging weights over tasks: the cheap baseline that is often hard to beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task


class WeightAveraging(Strategy):
    """After task t the weights are (t - 1)/t theta_(t-1) + 1/t theta: the mean over tasks of what each was learnt to.

    The next task begins at the mean. Nothing but the mean is kept. (Wortsman et al., "Model soups", ICML 2022;
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
        return 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Put the mean in the place of the weights."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    if task.number > 1:
                        parameter.copy_(self._mean[name].lerp(parameter, 1 / task.number))
                    self._mean[name] = parameter.detach().clone()
        return {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the mean."""
        return dict(self._mean)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._mean = dict(tensors)
