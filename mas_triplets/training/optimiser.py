"""The optimiser of a task and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mas_triplets.config import TrainConfig
from mas_triplets.lifelong.strategy import LearningRates
from mas_triplets.model.parts import parameters_by_part
from mas_triplets.model.triplet import TripletModel


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the rate of step `step` (from 0): a linear rise over the warm-up, then as `config.schedule` says.

    Example: 10 steps, warm-up 0.2, rate 1: 0.5, 1.0, then for `cosine` 0.5 (1 + cos(pi t)) at t = 1/9, 2/9, ... 8/9.
    """
    warm = round(config.warmup * steps)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "step":
        epoch = step * config.epochs // steps
        return config.learning_rate * 0.1 ** (epoch // config.step_epochs)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (steps - warm + 1)))


class Optimiser:
    """Adam or SGD with a learning rate a part of the model; it starts anew with each task.

    Moments of an earlier task would move weights that a penalty holds.
    """

    def __init__(self, model: TripletModel, config: TrainConfig) -> None:
        factors = config.learning_rate_factors.model_dump()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = {
            part: [name for name in names if name in parameters] for part, names in parameters_by_part(model).items()
        }
        self._uniform = len({factors[part] for part, names in self._names.items() if names}) <= 1
        groups: list[dict[str, Any]] = [
            {"params": [parameters[name] for name in names], "factor": factors[part], "names": names}
            for part, names in self._names.items()
            if names
        ]
        if self._uniform:  # one group: the same sums in the same order as ever
            merged = list(parameters)
            factor = groups[0]["factor"] if groups else 1.0
            groups = [{"params": [parameters[name] for name in merged], "factor": factor, "names": merged}]
        decay = config.weight_decay
        self._inner: torch.optim.Optimizer
        if config.optimiser == "sgd":
            self._inner = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=decay)
        else:
            self._inner = torch.optim.Adam(groups, lr=config.learning_rate, weight_decay=decay, fused=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._inner.zero_grad(set_to_none=True)

    def step(self, rate: float) -> LearningRates:
        """Take a step at the rate `rate` times each part's factor; return the rate, by parameter if they differ."""
        for group in self._inner.param_groups:
            group["lr"] = rate * group["factor"]
        self._inner.step()
        groups = self._inner.param_groups
        if self._uniform:
            return float(groups[0]["lr"])
        return {name: group["lr"] for group in groups for name in group["names"]}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that must survive within a task, by number of the parameter and name of the value."""
        state = self._inner.state_dict()["state"]
        return {
            f"{number}/{name}": value
            for number, values in state.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, _, name = key.partition("/")
            state.setdefault(int(number), {})[name] = value
        self._inner.load_state_dict({"state": state, "param_groups": self._inner.state_dict()["param_groups"]})
