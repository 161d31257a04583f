"""Online MAS: importance from the stream itself, with no need to be told where a task ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.local import local_outputs
from mas_triplets.lifelong.omega import describe, prepared
from mas_triplets.lifelong.penalty import QuadraticPenalty
from mas_triplets.lifelong.quadratic import PENALTY, QuadraticStrategy
from mas_triplets.lifelong.strategy import LearningRates
from mas_triplets.lifelong.task import Task


class OnlineMemoryAwareSynapses(QuadraticStrategy):
    """Every `interval` steps, Omega <- decay Omega + (1 - decay) Omega of the present batch's pictures.

    The anchor follows in the same way, theta* <- decay theta* + (1 - decay) theta, so that what has not changed for
    long is held and what the stream goes on teaching is let go. No picture is kept.
    """

    name = "online-mas"
    reads = (*PENALTY, "root", "normalise", "control", "decay", "statistic", "mode", "scope", "interval")
    first_task_is_plain = False
    needs_boundaries = False

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        if config.output != "embedding" or config.balance != "pictures":
            raise UserError(
                f"'{self.name}' uses no labels: leave lifelong.output=embedding and lifelong.balance=pictures"
            )
        self._steps = 0

    def after_step(self, model: nn.Module, learning_rate: LearningRates, inputs: Tensor) -> None:
        """Take the proximal step, if it is due, then update importance and anchor, if that is due."""
        super().after_step(model, learning_rate, inputs)
        self._steps += 1
        if self._steps % self.config.interval == 0:
            self._update(model, inputs)

    def _update(self, model: nn.Module, inputs: Tensor) -> None:
        config, decay = self.config, self.config.decay
        pictures = torch.tensor(len(inputs), device=inputs.device)
        if not (pictures if self.combine is None else self.combine(pictures)):
            return  # none of this batch's could be read
        measured = estimate_importance(
            model,
            (inputs,) if len(inputs) else (),
            output=local_outputs if config.scope == "local" else None,
            statistic=config.statistic,
            mode=config.mode,
            combine=self.combine,
        )
        measured = prepared(measured, config, self.seed)
        weights = {name: p.detach().clone() for name, p in model.named_parameters() if name in measured}
        if self._penalty is not None:
            before = self._penalty
            measured = {name: decay * before.importance[name] + (1 - decay) * new for name, new in measured.items()}
            weights = {name: torch.lerp(new, before.anchor[name], decay) for name, new in weights.items()}
        self._penalty = QuadraticPenalty(measured, weights, config.strength)
        self._tasks += 1

    def measure(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        """Return the importance as the stream has left it."""
        del model, task
        return self.importance()

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Return what importance is like; nothing is done, since the method does not know tasks."""
        del model, task
        return {"importance": {name: describe(value) for name, value in self.importance().items()}}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return importance, anchor and the number of steps."""
        return {**super().state_tensors(), "steps": torch.tensor(self._steps)}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._steps = int(tensors["steps"]) if "steps" in tensors else 0
        super().load_state_tensors(tensors)
