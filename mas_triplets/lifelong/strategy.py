"""What a method of lifelong learning may do, and when. A method overrides what it needs; `finetune` needs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mas_triplets.config import LifelongConfig

LearningRates = float | Mapping[str, float]
"""One learning rate, or one by parameter name."""

Batches = Callable[[], Iterable[Tensor]]
"""Gives the inputs of the task's training pictures, a batch at a time, without their labels."""


class Strategy:
    """Base of all methods, and by itself plain finetuning: each task is learnt and nothing is done against forgetting.

    Attributes:
        name: what a configuration calls it.
        merges_tasks: whether all tasks are learnt at once.
        uses_strength: whether `lifelong.strength` means anything to it.
        learns: whether anything is learnt at all.
        first_task_is_plain: whether nothing of it acts before its first task has ended, so that this task is learnt
            just as by finetune.
        rank: number of this process among `processes` that train together; it sees samples rank::processes.
        processes: how many there are.
        combine: sums a tensor over all of them; None for a single one.
    """

    name: ClassVar[str] = "finetune"
    merges_tasks: ClassVar[bool] = False
    uses_strength: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    first_task_is_plain: ClassVar[bool] = True

    def __init__(self, config: LifelongConfig) -> None:
        self.config = config
        self.rank = 0
        self.processes = 1
        self.combine: Callable[[Tensor], Tensor] | None = None

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the bytes that the method keeps on its own account while it trains this model."""
        del model
        return 0

    def after_backward(self, model: nn.Module) -> None:
        """Called between the backward pass and the optimiser's step: gradients may be changed in place."""

    def after_step(self, model: nn.Module, learning_rate: LearningRates) -> None:
        """Called after the optimiser's step: parameters may be changed in place."""

    def after_task(self, model: nn.Module, batches: Batches) -> dict[str, Any]:
        """Called when a task is learnt; returns plain values worth logging."""
        del model, batches
        return {}

    def penalty(self, model: nn.Module) -> float:
        """Return the present penalty, for the log."""
        del model
        return 0.0

    def importance(self) -> dict[str, Tensor]:
        """Return the accumulated importance by parameter name; empty for methods that have none."""
        return {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that must survive between tasks; `load_state_tensors` takes it back."""
        return {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        if tensors:
            raise ValueError(f"{self.name} has no state, but was given {sorted(tensors)}")


class Joint(Strategy):
    """All tasks at once: the upper bound, since it needs every picture at every time."""

    name = "joint"
    merges_tasks = True
    first_task_is_plain = False
