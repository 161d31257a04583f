"""The quadratic penalty that holds important parameters near their old values (Aljundi et al., ECCV 2018, Eq. 4).

    L(theta) = L_task(theta) + lambda * sum_p Omega_p (theta_p - theta*_p)^2

It never enters the autograd graph: its gradient 2 lambda Omega (theta - theta*) is added in place, or it is applied
as a proximal step after the optimiser's. Both go through the parameters in pieces that stay in the processor's cache
from one operation to the next, so that Omega, theta* and theta are each read once; nothing but a piece is allocated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mas_triplets.lifelong.strategy import LearningRates

_PIECE = 2**16  # numbers; smaller ones cost more calls, larger ones leave the cache (benchmarks.train_step)


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
        # in one order, however they come: what is read from disk gives the very sum that was given before
        self.importance = {name: importance[name] for name in sorted(importance)}
        self.anchor = dict(anchor)
        self.strength = strength
        self._pieces = {name: _pieces(self.anchor[name], omega) for name, omega in self.importance.items()}

    def _held(self, model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        # looked up anew each time, since a model may be given other parameters: it costs a ten-thousandth of a step
        parameters = dict(model.named_parameters())
        missing = self.importance.keys() - parameters.keys()
        if missing:
            raise ValueError(f"the model lacks the parameters {sorted(missing)}")
        for name in self.importance:
            yield name, parameters[name]

    def _with_held(self, name: str, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yield pieces of tensors shaped as the parameter, each followed by those of anchor and Omega."""
        held, pieces = self._pieces[name], _pieces(*tensors)
        if held and pieces:
            for own, others in zip(pieces, held, strict=True):
                yield *own, *others
        else:
            yield *tensors, self.anchor[name], self.importance[name]

    @torch.no_grad()
    def value(self, model: nn.Module) -> float:
        """Return lambda * sum_p Omega_p (theta_p - theta*_p)^2.

        Example: Omega = [1, 2], theta - theta* = [3, 1], lambda = 0.5 gives 0.5 * (9 + 2) = 5.5.
        """
        terms = [
            (self.importance[name] * (parameter - self.anchor[name]).square()).sum()
            for name, parameter in self._held(model)
        ]
        return self.strength * float(torch.stack(terms).sum()) if terms else 0.0

    @torch.no_grad()
    def add_gradient(self, model: nn.Module) -> None:
        """Add 2 lambda Omega (theta - theta*) to the parameters' gradients, in place.

        A parameter without a gradient (the loss did not reach it) is given one: it is pulled back all the same. One
        that does not require gradients is left alone.
        """
        if self.strength == 0:
            return
        scratch = _Scratch()
        for name, parameter in self._held(model):
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            for theta, gradient, anchor, omega in self._with_held(name, parameter, parameter.grad):
                away = torch.sub(theta, anchor, out=scratch.like(theta))
                gradient.addcmul_(away, omega, value=2 * self.strength)

    @torch.no_grad()
    def proximal_step(self, model: nn.Module, learning_rate: LearningRates) -> None:
        """Move the parameters by the exact step of the penalty alone: theta <- (theta + s theta*) / (1 + s).

        s = 2 lr lambda Omega. However large Omega is, a parameter stops at its anchor and never beyond it, and an
        adaptive optimiser does not rescale the pull. One that does not require gradients is left alone.

        Args:
            model: the model.
            learning_rate: of the optimiser's step just taken; one for all, or by parameter name.
        """
        if self.strength == 0:
            return
        scratch = _Scratch()
        for name, parameter in self._held(model):
            if not parameter.requires_grad:
                continue
            rate = learning_rate if isinstance(learning_rate, float | int) else learning_rate[name]
            for theta, anchor, omega in self._with_held(name, parameter):
                s = torch.mul(omega, 2 * rate * self.strength, out=scratch.like(theta))
                # s / (1 + s) = 1 / (1 + 1 / s), which is 1 also where s is infinite, and 0 where it is 0
                theta.lerp_(anchor, s.reciprocal_().add_(1).reciprocal_())


class _Scratch:
    """One piece of memory, used again for every piece of every parameter."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def like(self, piece: Tensor) -> Tensor:
        """Return an uninitialised tensor of the piece's shape, type and device."""
        held, count = self._buffer, piece.numel()
        if held is None or held.numel() < count or held.dtype != piece.dtype or held.device != piece.device:
            held = self._buffer = torch.empty(max(count, _PIECE), dtype=piece.dtype, device=piece.device)
        return held[:count].view(piece.shape)


def _pieces(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut tensors of one shape into equal parts; on a GPU, or where memory is not in one order, into none."""
    if tensors[0].device.type != "cpu" or not all(tensor.is_contiguous() for tensor in tensors):
        return []
    return list(zip(*(tensor.detach().view(-1).split(_PIECE) for tensor in tensors), strict=True))
