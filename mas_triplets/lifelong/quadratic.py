"""Methods that measure an importance after each task and hold parameters near their values by it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.omega import OMEGA, accumulate, describe, prepared
from mas_triplets.lifelong.owed_rates import OwedRates
from mas_triplets.lifelong.penalty import QuadraticPenalty
from mas_triplets.lifelong.strategy import LearningRates, Strategy
from mas_triplets.lifelong.task import Task

PENALTY = ("strength", "application", "every")
"""Keys of the penalty."""


class QuadraticStrategy(Strategy):
    """Base of l2, MAS, EWC and SI: only the measure of importance differs."""

    tuned: ClassVar[Mapping[str, tuple[float, ...]]] = {"lifelong.strength": (0.1, 0.3, 1, 3, 10, 30)}
    reads: ClassVar[tuple[str, ...]] = (*PENALTY, *OMEGA)
    needs_boundaries = True

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._penalty: QuadraticPenalty | None = None
        self._tasks = 0
        self._owed = OwedRates()

    @abstractmethod
    def measure(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        """Return this task's importance of every trainable parameter, >= 0."""

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of importance and anchor: two float32 numbers a parameter that is learnt."""
        return 2 * 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def after_backward(self, model: nn.Module) -> None:
        """Add the penalty's gradient, if that is how it is applied."""
        if self._penalty is not None and self.config.application == "gradient":
            self._penalty.add_gradient(model)

    def after_step(self, model: nn.Module, learning_rate: LearningRates, inputs: Tensor) -> None:
        """Take the proximal step, if that is how the penalty is applied and it is due."""
        del inputs
        if self._penalty is not None and self.config.application == "proximal":
            self._owed.add(learning_rate)
            if self._owed.steps == self.config.every:
                self._penalty.proximal_step(model, self._owed.take())

    def after_last_step(self, model: nn.Module) -> None:
        """Take the proximal step that is owed."""
        if self._penalty is not None and self._owed.steps:
            self._penalty.proximal_step(model, self._owed.take())

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Measure the task's importance, accumulate it, and move the anchor to the present weights."""
        return {"importance": self.take(model, self.measure(model, task))}

    def take(self, model: nn.Module, omega: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
        """Accumulate an importance and move the anchor to the present weights.

        Args:
            model: the model.
            omega: importance by parameter name, as measured.

        Returns:
            What it was like, by parameter name.
        """
        measured = prepared(omega, self.config, self.seed)
        log = {name: describe(value) for name, value in omega.items()}
        importance = accumulate(self.importance(), measured, self.config, self._tasks)
        anchor = {name: p.detach().clone() for name, p in model.named_parameters() if name in importance}
        self._penalty = QuadraticPenalty(importance, anchor, self.config.strength)
        self._tasks += 1
        return log

    def penalty(self, model: nn.Module) -> float:
        """Return lambda * sum_p Omega_p (theta_p - theta*_p)^2."""
        return self._penalty.value(model) if self._penalty is not None else 0.0

    def importance(self) -> dict[str, Tensor]:
        """Return the accumulated importance by parameter name."""
        return self._penalty.importance if self._penalty is not None else {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return importance, anchor, the number of tasks and the rates owed."""
        if self._penalty is None:
            return {}
        return {
            "tasks": torch.tensor(self._tasks),
            **{f"owed/{name}": value for name, value in self._owed.state_tensors().items()},
            **{f"importance/{name}": value for name, value in self._penalty.importance.items()},
            **{f"anchor/{name}": value for name, value in self._penalty.anchor.items()},
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        if "tasks" not in tensors:
            self._penalty, self._tasks = None, 0
            return
        self._tasks = int(tensors["tasks"])
        self._penalty = QuadraticPenalty(under(tensors, "importance/"), under(tensors, "anchor/"), self.config.strength)
        self._owed.load_state_tensors(under(tensors, "owed/"))


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
