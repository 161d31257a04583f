"""Per-sample gradients of convolutions over one, two or three axes, grouped or not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout, real, summed
from mas_triplets.lifelong.per_sample.gradients import Direct, Gradients, Product, Workspace


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

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        axes = len(self.kernel)
        if layout.axis != 0 or self.input.ndim != axes + 2:  # without a sample axis: (channels, *size)
            return None
        rows = layout.samples_first(real(delta), samples)
        columns = layout.samples_first(real(self.input), samples)
        if rows is None or columns is None:
            return None
        if name == "weight" and layout.fold == "alone" and self._is_depthwise():
            return self._depthwise(rows, columns)
        output = tuple(delta.shape[2:])
        if layout.fold == "alone":
            rows, columns = rows.unsqueeze(1), columns.unsqueeze(1)
        # (samples, frames, channels, positions); frames share the sample axis, as in video
        rows = rows.flatten(3)
        if name == "bias":
            return summed(self.weight.shape[:1], rows)
        rows = rows.transpose(1, 2).reshape(samples, self.groups, self.weight.shape[0] // self.groups, -1)
        frames, inputs = columns.shape[1], columns
        pointwise = all(size == 1 for size in self.kernel)
        # rows of windows that lie together in memory copy fast: channels last if these are the longer ones
        last = self.groups == 1 and not pointwise and self.kernel[-1] * columns.shape[2] > 2 * output[-1]
        unfold = self.pointwise if pointwise else self.windows_channels_last if last else self.windows

        count = self.weight[0].numel()

        def windows(part: slice, workspace: Workspace) -> Tensor:
            unfolded = unfold(inputs[part].flatten(0, 1), output, workspace)
            if frames > 1:
                unfolded = unfolded.reshape(-1, frames, *unfolded.shape[1:]).transpose(1, 2).flatten(2)
            return unfolded.view(unfolded.shape[0], self.groups, count, -1)

        def channels_first(gradient: Tensor) -> Tensor:
            split = gradient.reshape(*gradient.shape[:-3], -1, *self.kernel, self.weight.shape[1])
            return split.movedim(-1, -1 - axes)

        restore = channels_first if last else None
        return Product(self.weight.shape, rows, windows, count, restore)

    def _is_depthwise(self) -> bool:
        even = all(before == after for before, after in self.padding)
        return len(self.kernel) == 2 and self.weight.shape[1] == 1 and self.groups > 1 and even

    def _depthwise(self, delta: Tensor, images: Tensor) -> Gradients:
        """Take samples as further groups of one picture: the weight gradients are then per sample by themselves.

        Measured 2 to 10 times faster than windows for one channel a group, and much slower for more.
        """
        outputs = self.weight.shape[0]

        def compute(samples: slice) -> Tensor:
            rows, columns = delta[samples], images[samples]
            count, channels = columns.shape[:2]
            gradient: Tensor = conv2d_weight(
                columns.reshape(1, count * channels, *columns.shape[2:]),
                (count * outputs, 1, *self.kernel),
                rows.reshape(1, count * outputs, *rows.shape[2:]),
                self.stride,
                tuple(before for before, _ in self.padding),
                self.dilation,
                count * self.groups,
            )
            return gradient

        work = 2 * self.weight.numel() + delta[0].numel() + images[0].numel()
        return Direct(delta.shape[0], self.weight.shape, delta.dtype, compute, work * delta.dtype.itemsize)

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
            padded = workspace.take("padded", (*images.shape[:2], *self._padded(images)), images).zero_()
            self._inner(padded, images).copy_(images)
            images = padded
        count, channels, *lengths = images.stride()
        # an overlapping view, then one copy: measured 2 to 5 times faster than F.unfold
        view = images.as_strided((*images.shape[:2], *self.kernel, *output), (count, channels, *self._steps(lengths)))
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.view(images.shape[0], -1, math.prod(output))

    def windows_channels_last(self, images: Tensor, output: tuple[int, ...], workspace: Workspace) -> Tensor:
        """Return what each output position saw: (images, kernel numbers * channels, positions)."""
        padded = workspace.take("padded", (images.shape[0], *self._padded(images), images.shape[1]), images).zero_()
        self._inner(padded.movedim(-1, 1), images).copy_(images)
        count, *lengths, channels = padded.stride()
        steps = self._steps(lengths)
        kernel, moves = steps[: len(self.kernel)], steps[len(self.kernel) :]
        view = padded.as_strided(
            (images.shape[0], *output, *self.kernel, images.shape[1]), (count, *moves, *kernel, channels)
        )
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.view(images.shape[0], math.prod(output), -1).transpose(1, 2)

    def _padded(self, images: Tensor) -> list[int]:
        """Return the sizes of the images with their padding."""
        return [before + size + after for size, (before, after) in zip(images.shape[2:], self.padding, strict=True)]

    def _inner(self, padded: Tensor, images: Tensor) -> Tensor:
        """Return what of the padded images (images, channels, *sizes) is not padding."""
        for axis, ((before, _), size) in enumerate(zip(self.padding, images.shape[2:], strict=True)):
            padded = padded.narrow(axis + 2, before, size)
        return padded

    def _steps(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return how far apart in memory neighbours in the kernel are, then neighbours in the output."""
        return (
            *(length * d for length, d in zip(lengths, self.dilation, strict=True)),
            *(length * s for length, s in zip(lengths, self.stride, strict=True)),
        )
