"""The quadratic penalty that holds important parameters near their old values (Aljundi et al., ECCV 2018, Eq. 4).

    L(theta) = L_task(theta) + lambda * sum_p Omega_p (theta_p - theta*_p)^2

It never enters the autograd graph: its gradient 2 lambda Omega (theta - theta*) is added in place, or it is applied
as a proximal step after the optimiser's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class QuadraticPenalty:
    """Importance and anchor of the parameters of one model.

    Args:
        importance: Omega by parameter name, as `estimate_importance` gives it, each of its parameter's shape, >= 0.
        anchor: theta*, the values when the previous task ended, by the same names.
        strength: lambda >= 0; at 0 nothing at all is done.

    Raises:
        ValueError: the two do not have the same names and shapes, or lambda is negative.
    """

    def __init__(self, importance: Mapping[str, Tensor], anchor: Mapping[str, Tensor], strength: float) -> None:
        if importance.keys() != anchor.keys():
            raise ValueError(f"importance and anchor differ in {sorted(importance.keys() ^ anchor.keys())}")
        for name, omega in importance.items():
            if omega.shape != anchor[name].shape:
                raise ValueError(
                    f"{name}: importance has shape {tuple(omega.shape)}, anchor {tuple(anchor[name].shape)}"
                )
        if strength < 0:
            raise ValueError(f"the strength must not be negative, but is {strength}")
        self.importance = dict(importance)
        self.anchor = dict(anchor)
        self.strength = strength

    def _held(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor, Tensor]]:
        parameters = dict(model.named_parameters())
        missing = self.importance.keys() - parameters.keys()
        if missing:
            raise ValueError(f"the model lacks the parameters {sorted(missing)}")
        for name, omega in self.importance.items():
            yield parameters[name], omega, self.anchor[name]

    @torch.no_grad()
    def value(self, model: nn.Module) -> float:
        """Return lambda * sum_p Omega_p (theta_p - theta*_p)^2.

        Example: Omega = [1, 2], theta - theta* = [3, 1], lambda = 0.5 gives 0.5 * (9 + 2) = 5.5.
        """
        terms = [(omega * (parameter - anchor).square()).sum() for parameter, omega, anchor in self._held(model)]
        return self.strength * float(torch.stack(terms).sum()) if terms else 0.0

    @torch.no_grad()
    def add_gradient(self, model: nn.Module) -> None:
        """Add 2 lambda Omega (theta - theta*) to the parameters' gradients, in place.

        A parameter without a gradient (the loss did not reach it) is given one: it is pulled back all the same.
        """
        if self.strength == 0:
            return
        for parameter, omega, anchor in self._held(model):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.addcmul_(parameter - anchor, omega, value=2 * self.strength)

    @torch.no_grad()
    def proximal_step(self, model: nn.Module, learning_rate: float) -> None:
        """Move the parameters by the exact step of the penalty alone: theta <- (theta + s theta*) / (1 + s).

        s = 2 lr lambda Omega. However large Omega is, a parameter stops at its anchor and never beyond it, and an
        adaptive optimiser does not rescale the pull.
        """
        if self.strength == 0:
            return
        for parameter, omega, anchor in self._held(model):
            s = omega * (2 * learning_rate * self.strength)
            parameter.lerp_(anchor, s / (1 + s))
