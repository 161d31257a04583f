"""A call of a function that takes parameters, and where its tensors keep their samples: what every rule builds on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mas_triplets.lifelong.per_sample.gradients import Direct, Gradients
from mas_triplets.lifelong.per_sample.products import Product


@dataclass(frozen=True)
class Layout:
    """Where a tensor keeps its samples: the axis, and how they share it with something else (frames, tokens).

    `alone`: the axis has one entry a sample. `outer`: the entries of a sample lie together. `inner`: samples alternate.
    """

    axis: int
    fold: Literal["alone", "outer", "inner"] = "alone"

    def samples_first(self, tensor: Tensor, samples: int) -> Tensor | None:
        """Return the tensor as (samples, ...), what shared the axis in its place; None if the size does not fit."""
        if self.axis >= tensor.ndim or tensor.shape[self.axis] % samples:
            return None
        if self.fold == "alone":
            return tensor.movedim(self.axis, 0) if tensor.shape[self.axis] == samples else None
        if self.fold == "outer":
            return _unfolded(tensor, self.axis, (samples, -1)).movedim(self.axis, 0)
        return _unfolded(tensor, self.axis, (-1, samples)).movedim(self.axis + 1, 0)


def _unfolded(tensor: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    return tensor.reshape(*tensor.shape[:axis], *sizes, *tensor.shape[axis + 1 :])


def real(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 at least, since sums of half-precision numbers lose too much."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Call(ABC):
    """One call of a function that takes parameters."""

    def parameters(self) -> Mapping[str, Tensor | None]:
        """Return the arguments whose per-sample gradients this class can give."""
        return {"weight": getattr(self, "weight", None), "bias": getattr(self, "bias", None)}

    def saved(self) -> tuple[Tensor, ...]:
        """Return the tensors whose values `gradients` reads, so that a later in-place change is noticed."""
        value = getattr(self, "input", None)
        return (value,) if isinstance(value, Tensor) else ()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return what the function gives, while no parameter requires gradients, as a tensor of its own."""
        result: Tensor = function(*args, **kwargs)
        return result

    @abstractmethod
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        """Return the per-sample gradients of argument `name`, given the gradient `delta` of the output."""


def summed(
    shape: torch.Size,
    delta: Tensor,
    factor: Callable[[slice], Tensor] | None = None,
    scale: Tensor | None = None,
) -> Gradients:
    """Per-sample sums over positions.

    Args:
        shape: the parameter's, of `count` numbers.
        delta: (samples, before, count, after), what is summed over `before` and `after`.
        factor: gives what it is multiplied with beforehand, of the same shape, as a tensor that may be written to.
        scale: (count,), what the sums are multiplied with.
    """

    def compute(samples: slice) -> Tensor:
        terms = delta[samples] if factor is None else factor(samples).mul_(delta[samples])
        sums = terms.sum((1, 3))
        return sums if scale is None else sums.mul_(scale)

    work = (4 if factor is not None else 1) * delta[0].numel() * delta.dtype.itemsize
    return Direct(delta.shape[0], shape, delta.dtype, compute, work)


def product(shape: torch.Size, rows: Tensor, columns: Tensor) -> Product:
    """Per-sample sums of outer products over positions, from (samples, positions, numbers) each."""
    rows, columns = rows.transpose(1, 2).unsqueeze(1), columns.transpose(1, 2).unsqueeze(1)
    positions = columns.shape[3]
    return Product(shape, rows, lambda part, span, _: columns[part, ..., span], columns.shape[2], positions)
