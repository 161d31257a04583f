"""Methods that measure an importance after each task and hold parameters near their values by it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.owed_rates import OwedRates
from mas_triplets.lifelong.penalty import QuadraticPenalty
from mas_triplets.lifelong.strategy import Batches, LearningRates, Strategy

_NOISE = 1e-6  # of the mean importance: what single precision leaves of a gradient that is zero
_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_QUANTILE_SAMPLE = 1_000_000  # torch.quantile takes at most 16 million numbers; a regular sample serves a log


class QuadraticStrategy(Strategy):
    """Base of l2, MAS and their kind: only the measure of importance differs."""

    uses_strength = True

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._penalty: QuadraticPenalty | None = None
        self._tasks = 0
        self._owed = OwedRates()

    @abstractmethod
    def measure(self, model: nn.Module, batches: Batches) -> dict[str, Tensor]:
        """Return this task's importance of every trainable parameter, >= 0."""

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of importance and anchor: two float32 numbers a parameter that is learnt."""
        return 2 * 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def after_backward(self, model: nn.Module) -> None:
        """Add the penalty's gradient, if that is how it is applied."""
        if self._penalty is not None and self.config.application == "gradient":
            self._penalty.add_gradient(model)

    def after_step(self, model: nn.Module, learning_rate: LearningRates) -> None:
        """Take the proximal step, if that is how the penalty is applied and it is due."""
        if self._penalty is not None and self.config.application == "proximal":
            self._owed.add(learning_rate)
            if self._owed.steps == self.config.every:
                self._penalty.proximal_step(model, self._owed.take())

    def after_task(self, model: nn.Module, batches: Batches) -> dict[str, Any]:
        """Measure the task's importance, accumulate it, and move the anchor to the present weights."""
        if self._penalty is not None and self._owed.steps:
            self._penalty.proximal_step(model, self._owed.take())
        # in one layout, that in which they are written to disk: sums must not depend on whether they were
        measured = {name: omega.contiguous() for name, omega in self.measure(model, batches).items()}
        log = {name: describe(omega) for name, omega in measured.items()}
        if self.config.normalise == "mean":
            measured = divided_by_mean(measured)
        elif self.config.normalise == "layer":
            measured = divided_by_own_mean(measured)
        importance = accumulate(self.importance(), measured, self.config, self._tasks)
        anchor = {name: p.detach().clone() for name, p in model.named_parameters() if name in importance}
        self._penalty = QuadraticPenalty(importance, anchor, self.config.strength)
        self._tasks += 1
        return {"importance": log}

    def penalty(self, model: nn.Module) -> float:
        """Return lambda * sum_p Omega_p (theta_p - theta*_p)^2."""
        return self._penalty.value(model) if self._penalty is not None else 0.0

    def importance(self) -> dict[str, Tensor]:
        """Return the accumulated importance by parameter name."""
        return self._penalty.importance if self._penalty is not None else {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return importance, anchor and the number of tasks."""
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
        if not tensors:
            self._penalty, self._tasks = None, 0
            return

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self._tasks = int(tensors["tasks"])
        self._penalty = QuadraticPenalty(under("importance/"), under("anchor/"), self.config.strength)
        self._owed.load_state_tensors(under("owed/"))


def divided_by_mean(importance: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide by the mean over all parameters, so that one strength serves tasks and models of any scale.

    Example: {"a": [1, 3], "b": [2]} has the mean 2 and becomes {"a": [0.5, 1.5], "b": [1]}.
    """
    count = sum(omega.numel() for omega in importance.values())
    mean = sum(float(omega.double().sum()) for omega in importance.values()) / count
    return {name: omega / mean for name, omega in importance.items()}


def divided_by_own_mean(importance: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide each tensor by its own mean: what counts is then which weights of a layer matter, not which layer.

    A tensor that is zero everywhere (its parameter is not used) stays zero, and one of which nothing is left but noise
    (under a millionth of the mean over all: the bias of attention's keys, whose gradient is zero) becomes zero.

    Example: {"a": [1, 3], "b": [4]} becomes {"a": [0.5, 1.5], "b": [1]}.
    """
    count = sum(omega.numel() for omega in importance.values())
    least = _NOISE * sum(float(omega.double().sum()) for omega in importance.values()) / count
    return {
        name: omega / mean if (mean := omega.double().mean().float()) > least else torch.zeros_like(omega)
        for name, omega in importance.items()
    }


def accumulate(
    before: dict[str, Tensor], measured: dict[str, Tensor], config: LifelongConfig, tasks: int
) -> dict[str, Tensor]:
    """Join the importance of `tasks` earlier tasks with the one just measured, as `config.accumulate` says.

    sum: before + measured (the paper's). mean: of all tasks so far. ema: decay * before + (1 - decay) * measured.
    max: the larger of the two. The first task's is taken as it is.
    """
    if not before:
        return measured
    rules = {
        "sum": lambda old, new: old + new,
        "mean": lambda old, new: old + (new - old) / (tasks + 1),
        "ema": lambda old, new: config.decay * old + (1 - config.decay) * new,
        "max": torch.maximum,
    }
    rule = rules[config.accumulate]
    return {name: rule(before[name], omega) for name, omega in measured.items()}


def describe(omega: Tensor) -> dict[str, float]:
    """Return mean, max and quantiles of one tensor's importance, for the log."""
    flat = omega.detach().float().flatten()
    sample = flat[:: max(1, flat.numel() // _QUANTILE_SAMPLE)]
    quantiles = torch.quantile(sample, torch.tensor(_QUANTILES, device=flat.device))
    return {
        "mean": float(flat.mean()),
        "max": float(flat.max()),
        **{f"q{share:g}": float(value) for share, value in zip(_QUANTILES, quantiles, strict=True)},
    }
