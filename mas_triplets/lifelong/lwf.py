"""Learning without Forgetting (Li and Hoiem, ECCV 2016) for embeddings: distillation on the new task's pictures."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task


class LearningWithoutForgetting(Strategy):
    """Adds weight/(2B) sum_i ||F(x_i) - F_old(x_i)||^2 to the loss, F_old being the model as the previous task left it.

    No earlier picture is kept: what the old model made of the new pictures stands for them. The form is that of the
    squared loss, so that a weight of 1 counts the old embedding as much as the new facts. It costs a forward pass of
    the old model.
    """

    name = "lwf"
    reads = ("distillation",)
    tuned = {"lifelong.distillation": (0.1, 0.3, 0.6, 1, 2, 4)}  # noqa: RUF012
    needs_boundaries = True

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._old: nn.Module | None = None
        self._tensors: dict[str, Tensor] = {}

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of the old model, without what is frozen and shared."""
        return sum(value.numel() * value.element_size() for value in _learnt(model).values())

    def before_task(self, model: nn.Module, task: Task) -> None:
        """Keep the model as it is, from the second task on."""
        if task.number > 1:
            self._tensors = {name: value.clone() for name, value in _learnt(model).items()}
            self._old = None

    def extra_loss(self, model: nn.Module, inputs: Tensor, embedding: Tensor) -> Tensor | None:
        """Return weight/2 sum_i ||F(x_i) - F_old(x_i)||^2."""
        if not self._tensors or self.config.distillation == 0 or not len(inputs):
            return None
        if self._old is None:
            self._old = self._old_like(model)
        with torch.no_grad():
            target = self._old(inputs)
        distance: Tensor = (embedding - target).square().sum()
        return 0.5 * self.config.distillation * distance

    def _old_like(self, model: nn.Module) -> nn.Module:
        shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
        old = copy.deepcopy(model, shared).requires_grad_(False).eval()
        old.load_state_dict(self._tensors, strict=False)
        self._tensors = {name: value for name, value in old.state_dict().items() if name in self._tensors}  # one copy
        return old

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the old model's tensors."""
        return dict(self._tensors)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._tensors, self._old = dict(tensors), None


def _learnt(model: nn.Module) -> dict[str, Tensor]:
    """Return all of the model's tensors but the parameters that are frozen."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}
