"""The functions of which the per-sample parameter gradients are known in closed form.

One class a function: its constructor has the function's own signature, so that any mix of positional and keyword
arguments binds to the right names. It says which arguments may be parameters, and turns the gradient of the function's
output into per-sample gradients of each. A case that a class does not cover gives None, and the parameter goes
another, slower way; no class ever guesses.

`RULES` is the table from function to class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout, product, real, summed
from mas_triplets.lifelong.per_sample.conv import ConvCall
from mas_triplets.lifelong.per_sample.gradients import Direct, Gradients, TableRows
from mas_triplets.lifelong.per_sample.norms import BatchNormCall, GroupNormCall, LayerNormCall, RMSNormCall


class LinearCall(Call):
    """y = x W^T + b on the last axis of x; W is (out, in)."""

    def __init__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        self.input, self.weight, self.bias = input, weight, bias

    @override
    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        # from an input in another order PyTorch makes a product for each entry of the first axis, unless the weight
        # requires a gradient: in packed attention that took longer than all the rest
        result: Tensor = function(self.input.contiguous(), self.weight, self.bias)
        return result

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        rows = layout.samples_first(real(delta), samples)
        if rows is None or layout.axis == delta.ndim - 1:
            return None
        rows = rows.reshape(samples, -1, rows.shape[-1])  # (samples, positions, out)
        if name == "bias":
            return summed(rows.shape[2:], rows.unsqueeze(3))
        columns = layout.samples_first(real(self.input), samples)
        if columns is None:
            return None
        columns = columns.reshape(samples, -1, columns.shape[-1])
        return product(self.weight.shape, rows, columns)


class MatmulCall(Call):
    """y = x @ W with W (in, out): a projection that is kept as a plain parameter."""

    def __init__(self, input: Tensor, other: Tensor) -> None:
        self.input, self.weight = input, other

    @override
    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        result: Tensor = function(self.input.contiguous(), self.weight)  # see `LinearCall.run`
        return result

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        columns = layout.samples_first(real(delta), samples)
        if columns is None or layout.axis == delta.ndim - 1 or self.weight.ndim != 2 or self.input.ndim < 2:
            return None
        rows = layout.samples_first(real(self.input), samples)
        if rows is None:
            return None
        rows = rows.reshape(samples, -1, rows.shape[-1])
        return product(self.weight.shape, rows, columns.reshape(samples, -1, columns.shape[-1]))


class EmbeddingCall(Call):
    """Rows of a table, by index; not covered where the gradient depends on the batch's frequencies."""

    def __init__(
        self,
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> None:
        self.input, self.weight, self.padding = input, weight, padding_idx
        self.plain = max_norm is None and not scale_grad_by_freq

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        rows = layout.samples_first(real(delta), samples)
        if rows is None or not self.plain or layout.axis >= self.input.ndim:
            return None
        index = layout.samples_first(self.input, samples)
        if index is None:
            return None
        index = index.reshape(samples, -1).long()
        rows = rows.reshape(samples, index.shape[1], -1)
        if self.padding is not None:  # the padding row learns nothing
            rows = rows * (index != self.padding % self.weight.shape[0]).unsqueeze(2)
        return TableRows(self.weight.shape, index, rows)


class BroadcastCall(Call):
    """A parameter repeated along the sample axis: x + p, p - x, x * p, p.expand(...), p.repeat(...)."""

    def __init__(self, input: Tensor | float, other: Tensor | float, *, alpha: float = 1) -> None:
        self.first, self.second, self.alpha = input, other, alpha

    @override
    def parameters(self) -> Mapping[str, Tensor | None]:
        pair = {"first": self.first, "second": self.second}
        return {name: value for name, value in pair.items() if isinstance(value, Tensor)}

    @override
    def saved(self) -> tuple[Tensor, ...]:
        return ()

    def slope(self, name: str) -> Tensor | float:
        """Return d output / d argument, elementwise."""
        return 1 if name == "first" else self.alpha

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        shape = self.parameters()[name]
        assert shape is not None
        target = [1] * (delta.ndim - shape.ndim) + list(shape.shape)
        if len(target) != delta.ndim or target[layout.axis] != 1:  # or: each sample has its part of the parameter
            return None
        if any(size not in (1, full) for size, full in zip(target, delta.shape, strict=True)):
            return None
        terms = layout.samples_first(real(delta) * self.slope(name), samples)
        if terms is None:
            return None
        kept = terms
        if layout.fold == "alone":
            del target[layout.axis]

        def compute(part: slice) -> Tensor:
            return kept[part].sum_to_size((kept[part].shape[0], *target))

        return Direct(samples, shape.shape, kept.dtype, compute, 2 * kept[0].numel() * kept.dtype.itemsize)


class SubtractCall(BroadcastCall):
    """x - alpha p or p - alpha x."""

    @override
    def slope(self, name: str) -> Tensor | float:
        return 1 if name == "first" else -self.alpha


class MultiplyCall(BroadcastCall):
    """x * p."""

    @override
    def saved(self) -> tuple[Tensor, ...]:
        return tuple(value for value in (self.first, self.second) if isinstance(value, Tensor))

    @override
    def slope(self, name: str) -> Tensor | float:
        return self.second if name == "first" else self.first


class RepeatCall(BroadcastCall):
    """p.expand(sizes) and p.repeat(counts)."""

    def __init__(self, input: Tensor, *sizes: Any) -> None:
        super().__init__(input, 0)

    @override
    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return super().run(function, args, kwargs).clone()  # a view of the parameter cannot join the graph


RULES: dict[Callable[..., Any], type[Call]] = {
    F.linear: LinearCall,
    torch.matmul: MatmulCall,
    Tensor.matmul: MatmulCall,
    Tensor.__matmul__: MatmulCall,
    torch.conv1d: ConvCall,
    torch.conv2d: ConvCall,
    torch.conv3d: ConvCall,
    F.batch_norm: BatchNormCall,
    F.group_norm: GroupNormCall,
    F.layer_norm: LayerNormCall,
    F.rms_norm: RMSNormCall,
    F.embedding: EmbeddingCall,
    torch.add: BroadcastCall,
    Tensor.add: BroadcastCall,
    torch.sub: SubtractCall,
    Tensor.sub: SubtractCall,
    torch.mul: MultiplyCall,
    Tensor.mul: MultiplyCall,
    Tensor.expand: RepeatCall,
    Tensor.repeat: RepeatCall,
}
