"""Several methods at once, such as a penalty with distillation: `mas+lwf`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.strategy import LearningRates, Strategy
from mas_triplets.lifelong.task import IntArray, Task


class Combined(Strategy):
    """Does what each of its parts does, in their order.

    Args:
        config: of all parts.
        parts: the methods; at most one holds an importance, and at most one a memory.
    """

    def __init__(self, config: LifelongConfig, parts: Sequence[Strategy]) -> None:
        super().__init__(config)
        self.parts = tuple(parts)

    def join(self, rank: int, processes: int, combine: Callable[[Tensor], Tensor] | None, seed: int) -> None:
        """Tell every part."""
        super().join(rank, processes, combine, seed)
        for part in self.parts:
            part.join(rank, processes, combine, seed)

    def takes_steps(self, task: int) -> bool:
        """Return whether every part that learns by steps takes some."""
        learning = [part for part in self.parts if not part.closed_form]
        return bool(learning) and all(part.takes_steps(task) for part in learning)

    def rate_factor(self, task: int) -> float:
        """Return the product over the parts."""
        return math.prod(part.rate_factor(task) for part in self.parts)

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the sum over the parts."""
        return sum(part.memory_bytes(model) for part in self.parts)

    def before_task(self, model: nn.Module, task: Task) -> None:
        """Tell every part."""
        for part in self.parts:
            part.before_task(model, task)

    def extra_loss(self, model: nn.Module, inputs: Tensor, embedding: Tensor) -> Tensor | None:
        """Return the sum over the parts; None if none adds anything."""
        total: Tensor | None = None
        for part in self.parts:
            extra = part.extra_loss(model, inputs, embedding)
            if extra is not None:
                total = extra if total is None else total + extra
        return total

    def rehearsed(self) -> tuple[IntArray, IntArray] | None:
        """Return the pairs of the part that stores some."""
        return next((found for part in self.parts if (found := part.rehearsed()) is not None), None)

    def after_backward(self, model: nn.Module) -> None:
        """Let every part change the gradients."""
        for part in self.parts:
            part.after_backward(model)

    def after_step(self, model: nn.Module, learning_rate: LearningRates, inputs: Tensor) -> None:
        """Let every part change the parameters."""
        for part in self.parts:
            part.after_step(model, learning_rate, inputs)

    def after_last_step(self, model: nn.Module) -> None:
        """Let every part take what it owes."""
        for part in self.parts:
            part.after_last_step(model)

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Let every part look at the task; return what any has to tell."""
        told: dict[str, Any] = {}
        for part in self.parts:
            told |= part.after_task(model, task)
        return told

    def penalty(self, model: nn.Module) -> float:
        """Return the sum over the parts."""
        return sum(part.penalty(model) for part in self.parts)

    def importance(self) -> dict[str, Tensor]:
        """Return the importance of the part that has one."""
        return next((found for part in self.parts if (found := part.importance())), {})

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state of every part, each under its name."""
        return {f"{part.name}/{name}": value for part in self.parts for name, value in part.state_tensors().items()}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        for part in self.parts:
            start = f"{part.name}/"
            part.load_state_tensors(
                {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            )
