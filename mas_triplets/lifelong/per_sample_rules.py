"""The functions of which the per-sample parameter gradients are known in closed form.

One class a function: its constructor has the function's own signature, so that any mix of positional and keyword
arguments binds to the right names. It says which arguments may be parameters, and turns the gradient of the function's
output into per-sample gradients of each. A case that a class does not cover gives None, and the parameter goes
another, slower way; no class ever guesses.

`RULES` is the table from function to class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mas_triplets.lifelong.per_sample_gradients import Direct, Gradients, Product, TableRows, Workspace


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
            return tensor.unflatten(self.axis, (samples, -1)).movedim(self.axis, 0)
        return tensor.unflatten(self.axis, (-1, samples)).movedim(self.axis + 1, 0)


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

    @abstractmethod
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        """Return the per-sample gradients of argument `name`, given the gradient `delta` of the output."""


def summed(shape: torch.Size, delta: Tensor, factor: Callable[[slice], Tensor] | None = None) -> Gradients:
    """Per-sample sums of `delta`, (samples, before, count, after), times a factor of the same shape."""

    def compute(samples: slice) -> Tensor:
        terms = delta[samples] if factor is None else delta[samples] * factor(samples)
        return terms.sum((1, 3))

    work = (4 if factor is not None else 1) * delta[0].numel() * delta.dtype.itemsize
    return Direct(delta.shape[0], shape, delta.dtype, compute, work)


class LinearCall(Call):
    """y = x W^T + b on the last axis of x; W is (out, in)."""

    def __init__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        self.input, self.weight, self.bias = input, weight, bias

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

    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        columns = layout.samples_first(real(delta), samples)
        if columns is None or layout.axis == delta.ndim - 1 or self.weight.ndim != 2 or self.input.ndim < 2:
            return None
        rows = layout.samples_first(real(self.input), samples)
        if rows is None:
            return None
        rows = rows.reshape(samples, -1, rows.shape[-1])
        return product(self.weight.shape, rows, columns.reshape(samples, -1, columns.shape[-1]))


def product(shape: torch.Size, rows: Tensor, columns: Tensor) -> Product:
    """Per-sample sums of outer products over positions, from (samples, positions, numbers) each."""
    rows, columns = rows.transpose(1, 2).unsqueeze(1), columns.transpose(1, 2).unsqueeze(1)
    return Product(shape, rows, lambda part, _: columns[part], columns.shape[2])


class ConvCall(Call):
    """Convolution over one, two or three axes with zero padding; other paddings reach it already padded."""

    def __init__(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
    ) -> None:
        self.input, self.weight, self.bias, self.groups = input, weight, bias, groups
        self.kernel = tuple(weight.shape[2:])
        axes = len(self.kernel)

        def spread(value: int | tuple[int, ...]) -> tuple[int, ...]:
            values = (value,) if isinstance(value, int) else tuple(value)
            return values * axes if len(values) == 1 else values

        self.stride, self.dilation = spread(stride), spread(dilation)
        if padding == "valid":
            padding = 0
        if padding == "same":
            reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
            self.padding = [(r // 2, r - r // 2) for r in reach]
        else:
            assert not isinstance(padding, str)
            self.padding = [(p, p) for p in spread(padding)]

    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        axes = len(self.kernel)
        if layout.axis != 0 or self.input.ndim != axes + 2:  # without a sample axis: (channels, *size)
            return None
        rows = layout.samples_first(real(delta), samples)
        columns = layout.samples_first(real(self.input), samples)
        if rows is None or columns is None:
            return None
        output = tuple(delta.shape[2:])
        if layout.fold == "alone":
            rows, columns = rows.unsqueeze(1), columns.unsqueeze(1)
        # (samples, frames, channels, positions); frames share the sample axis, as in video
        rows = rows.flatten(3)
        if name == "bias":
            return summed(self.weight.shape[:1], rows)
        rows = rows.transpose(1, 2).flatten(2).unflatten(1, (self.groups, -1))
        frames, inputs = columns.shape[1], columns
        pointwise = all(size == 1 for size in self.kernel)
        # rows of windows that lie together in memory copy fast: channels last if these are the longer ones
        last = self.groups == 1 and not pointwise and self.kernel[-1] * columns.shape[2] > 2 * output[-1]
        unfold = self.pointwise if pointwise else self.windows_channels_last if last else self.windows

        def windows(part: slice, workspace: Workspace) -> Tensor:
            unfolded = unfold(inputs[part].flatten(0, 1), output, workspace)
            if frames > 1:
                unfolded = unfolded.unflatten(0, (-1, frames)).transpose(1, 2).flatten(2)
            return unfolded.unflatten(1, (self.groups, -1))

        def channels_first(gradient: Tensor) -> Tensor:
            (channels,) = self.weight.shape[1:2]
            return gradient.squeeze(-3).unflatten(-1, (*self.kernel, channels)).movedim(-1, -1 - axes)

        restore = channels_first if last else None
        return Product(self.weight.shape, rows, windows, self.weight[0].numel(), restore)

    def pointwise(self, images: Tensor, output: tuple[int, ...], workspace: Workspace) -> Tensor:
        """Return what each output position saw, for kernels of size one: (images, channels, positions)."""
        if any(before or after for before, after in self.padding):
            images = F.pad(images, [side for pair in reversed(self.padding) for side in pair])
        for axis, (step, size) in enumerate(zip(self.stride, output, strict=True)):
            if step > 1:
                images = images[(slice(None),) * (axis + 2) + (slice(0, step * (size - 1) + 1, step),)]
        return images.flatten(2)

    def windows(self, images: Tensor, output: tuple[int, ...], workspace: Workspace) -> Tensor:
        """Return what each output position saw: (images, channels * kernel numbers, positions)."""
        if any(before or after for before, after in self.padding):
            images = F.pad(images, [side for pair in reversed(self.padding) for side in pair])
        count, channels, *lengths = images.stride()
        # an overlapping view, then one copy: measured 2 to 5 times faster than F.unfold
        view = images.as_strided(
            (*images.shape[:2], *self.kernel, *output), (count, channels, *self._steps(lengths))
        )
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.view(images.shape[0], -1, math.prod(output))

    def windows_channels_last(self, images: Tensor, output: tuple[int, ...], workspace: Workspace) -> Tensor:
        """Return what each output position saw: (images, kernel numbers * channels, positions)."""
        sizes = [
            before + size + after for size, (before, after) in zip(images.shape[2:], self.padding, strict=True)
        ]
        padded = workspace.take("padded", (images.shape[0], *sizes, images.shape[1]), images).zero_()
        inner = padded.movedim(-1, 1)
        for axis, ((before, _), size) in enumerate(zip(self.padding, images.shape[2:], strict=True)):
            inner = inner.narrow(axis + 2, before, size)
        inner.copy_(images)
        count, *lengths, channels = padded.stride()
        steps = self._steps(lengths)
        kernel, moves = steps[: len(self.kernel)], steps[len(self.kernel) :]
        view = padded.as_strided(
            (images.shape[0], *output, *self.kernel, images.shape[1]), (count, *moves, *kernel, channels)
        )
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.view(images.shape[0], math.prod(output), -1).transpose(1, 2)

    def _steps(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return how far apart in memory neighbours in the kernel are, then neighbours in the output."""
        return (
            *(length * d for length, d in zip(lengths, self.dilation, strict=True)),
            *(length * s for length, s in zip(lengths, self.stride, strict=True)),
        )


class NormCall(Call):
    """y = w n(x) + b, where n is a normalisation without parameters and each channel has one w and one b."""

    def __init__(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
        self.input, self.weight, self.bias = input, weight, bias

    @abstractmethod
    def normalised(self, value: Tensor) -> Tensor:
        """Return n(value) for values shaped like the input, with any number of entries on the first axis."""

    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        if layout.axis != 0 or self.input.ndim < 2:
            return None
        rows = layout.samples_first(real(delta), samples)
        values = layout.samples_first(self.input, samples)
        if rows is None or values is None:
            return None
        if layout.fold == "alone":
            rows, values = rows.unsqueeze(1), values.unsqueeze(1)
        rows = rows.reshape(*rows.shape[:3], -1)  # (samples, frames, channels, positions)
        if name == "bias":
            return summed(rows.shape[2:3], rows)
        inputs = values

        def factor(part: slice) -> Tensor:
            normalised = real(self.normalised(inputs[part].flatten(0, 1)))
            return normalised.reshape(-1, *rows.shape[1:])

        return summed(rows.shape[2:3], rows, factor)


class BatchNormCall(NormCall):
    """Batch normalisation by running statistics; with the batch's own, samples are not independent: not covered."""

    def __init__(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(input, weight, bias)
        self.mean, self.variance, self.training, self.eps = running_mean, running_var, training, eps

    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        return None if self.training else super().gradients(name, delta, layout, samples)

    def normalised(self, value: Tensor) -> Tensor:
        assert self.mean is not None
        assert self.variance is not None
        shape = (-1,) + (1,) * (value.ndim - 2)
        return (value - self.mean.view(shape)) * (self.variance + self.eps).rsqrt().view(shape)


class GroupNormCall(NormCall):
    """Group normalisation."""

    def __init__(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(input, weight, bias)
        self.groups, self.eps = num_groups, eps

    def normalised(self, value: Tensor) -> Tensor:
        return F.group_norm(value, self.groups, eps=self.eps)


class LayerNormCall(Call):
    """Layer normalisation over the last axes."""

    def __init__(
        self,
        input: Tensor,
        normalized_shape: list[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> None:
        self.input, self.shape, self.weight, self.bias = input, torch.Size(normalized_shape), weight, bias
        self.eps: float | None = eps

    def normalised(self, value: Tensor) -> Tensor:
        """Return the values normalised, without weight and bias."""
        assert self.eps is not None
        return F.layer_norm(value, self.shape, eps=self.eps)

    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        rows = layout.samples_first(real(delta), samples)
        values = layout.samples_first(self.input, samples)
        if rows is None or values is None or layout.axis >= delta.ndim - len(self.shape):
            return None
        inputs = values
        rows = rows.reshape(samples, -1, self.shape.numel(), 1)  # (samples, positions, numbers, 1)
        if name == "bias":
            return summed(self.shape, rows)
        return summed(
            self.shape, rows, lambda part: real(self.normalised(inputs[part])).reshape(-1, *rows.shape[1:])
        )


class RMSNormCall(LayerNormCall):
    """Root-mean-square normalisation over the last axes."""

    def __init__(
        self,
        input: Tensor,
        normalized_shape: list[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__(input, normalized_shape, weight)
        self.eps = eps

    def normalised(self, value: Tensor) -> Tensor:
        return F.rms_norm(value, list(self.shape), eps=self.eps)


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

    def parameters(self) -> Mapping[str, Tensor | None]:
        pair = {"first": self.first, "second": self.second}
        return {name: value for name, value in pair.items() if isinstance(value, Tensor)}

    def saved(self) -> tuple[Tensor, ...]:
        return ()

    def slope(self, name: str) -> Tensor | float:
        """Return d output / d argument, elementwise."""
        return 1 if name == "first" else self.alpha

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

    def slope(self, name: str) -> Tensor | float:
        return 1 if name == "first" else -self.alpha


class MultiplyCall(BroadcastCall):
    """x * p."""

    def saved(self) -> tuple[Tensor, ...]:
        return tuple(value for value in (self.first, self.second) if isinstance(value, Tensor))

    def slope(self, name: str) -> Tensor | float:
        return self.second if name == "first" else self.first


class RepeatCall(BroadcastCall):
    """p.expand(sizes) and p.repeat(counts)."""

    def __init__(self, input: Tensor, *sizes: Any) -> None:
        super().__init__(input, 0)


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
