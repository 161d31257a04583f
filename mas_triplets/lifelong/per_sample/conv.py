"""Per-sample gradients of convolutions over one, two or three axes, grouped or not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout, real, summed
from mas_triplets.lifelong.per_sample.gradients import Direct, Gradients, Workspace
from mas_triplets.lifelong.per_sample.products import Product

_FEW = 32  # so many output channels a position make the copy of windows cheap beside the product


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
        # rows of windows that lie together in memory copy fast: channels last if these are the longer ones; but with
        # few positions putting the result into the parameter's own order would cost more than the copy
        longer = self.kernel[-1] * columns.shape[2] > 2 * output[-1]
        last = self.groups == 1 and not pointwise and longer and _FEW * rows.shape[3] > rows.shape[2]
        unfold = self.pointwise if pointwise else self.windows_channels_last if last else self.windows

        count = self.weight[0].numel()

        def windows(part: slice, span: slice, workspace: Workspace) -> Tensor:
            unfolded = unfold(inputs[part].flatten(0, 1), output, span if frames == 1 else slice(None), workspace)
            if frames > 1:
                unfolded = unfolded.reshape(-1, frames, *unfolded.shape[1:]).transpose(1, 2).flatten(2)
            return unfolded.view(unfolded.shape[0], self.groups, count, -1)

        def channels_first(gradient: Tensor) -> Tensor:
            split = gradient.reshape(*gradient.shape[:-3], -1, *self.kernel, self.weight.shape[1])
            return split.movedim(-1, -1 - axes)

        restore = channels_first if last else None
        return Product(self.weight.shape, rows, windows, count, output[0] if frames == 1 else 1, restore)

    def _is_depthwise(self) -> bool:
        even = all(before == after for before, after in self.padding)
        return len(self.kernel) == 2 and self.weight.shape[1] == 1 and self.groups > 1 and even

    def _depthwise(self, delta: Tensor, images: Tensor) -> Gradients:
        """One channel a group. Measured 2 to 10 times faster than windows."""
        numbers, positions = math.prod(self.kernel), math.prod(delta.shape[2:])
        # PyTorch has code of its own for kernels of 3x3
        few = positions <= (6 * numbers if numbers > 9 else numbers)
        plain = self.weight.shape[0] == self.groups and delta.device.type == "cpu"
        last = few and plain
        compute = self._by_positions if last else self._by_groups
        work = 4 * self.weight.numel() + 2 * delta[0].numel() + 2 * images[0].numel()

        def gradient(samples: slice) -> Tensor:
            return compute(delta[samples], images[samples])

        def channels_first(gradient: Tensor) -> Tensor:
            return gradient.movedim(-1, -3).unsqueeze(-3)

        size = work * delta.dtype.itemsize
        restore = channels_first if last else None
        return Direct(delta.shape[0], self.weight.shape, delta.dtype, gradient, size, restore)

    def _by_groups(self, delta: Tensor, images: Tensor) -> Tensor:
        """Take samples as further groups of one picture: the weight gradients are then per sample by themselves.

        Returns (samples, channels, 1, *kernel).
        """
        count, channels = images.shape[:2]
        outputs = self.weight.shape[0]
        gradient: Tensor = conv2d_weight(
            images.reshape(1, count * channels, *images.shape[2:]),
            (count * outputs, 1, *self.kernel),
            delta.reshape(1, count * outputs, *delta.shape[2:]),
            self.stride,
            tuple(before for before, _ in self.padding),
            self.dilation,
            count * self.groups,
        )
        return gradient.view(count, *self.weight.shape)

    def _by_positions(self, delta: Tensor, images: Tensor) -> Tensor:
        """Add up what each output position saw, times its gradient: for large kernels and few positions.

        Returns (samples, *kernel, channels).
        """
        count, channels = images.shape[:2]
        padded = images.new_zeros(count, *self._padded(images), channels)
        self._inner(padded.movedim(-1, 1), images).copy_(images)
        slopes = delta.permute(0, 2, 3, 1).contiguous()
        gradient = images.new_zeros(count, *self.kernel, channels)
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        for y, x in itertools.product(range(delta.shape[2]), range(delta.shape[3])):
            top, left = y * self.stride[0], x * self.stride[1]
            seen = padded[:, top : top + reach[0] : self.dilation[0], left : left + reach[1] : self.dilation[1]]
            gradient.addcmul_(seen, slopes[:, y, x, None, None])
        return gradient

    def pointwise(self, images: Tensor, output: tuple[int, ...], span: slice, workspace: Workspace) -> Tensor:
        """Return what output positions saw, for kernels of size one: (images, channels, positions).

        Args:
            images: (images, channels, *sizes).
            output: sizes of the output.
            span: the entries of the output's first axis that are meant.
            workspace: where to put copies.
        """
        if any(before or after for before, after in self.padding):
            images = F.pad(images, [side for pair in reversed(self.padding) for side in pair])
        for axis, (step, size) in enumerate(zip(self.stride, output, strict=True)):
            if step > 1:
                images = images[(slice(None),) * (axis + 2) + (slice(0, step * (size - 1) + 1, step),)]
        return images[:, :, span].flatten(2)

    def windows(self, images: Tensor, output: tuple[int, ...], span: slice, workspace: Workspace) -> Tensor:
        """Return what output positions saw: (images, channels * kernel numbers, positions)."""
        if any(before or after for before, after in self.padding):
            padded = workspace.take("padded", (*images.shape[:2], *self._padded(images)), images).zero_()
            self._inner(padded, images).copy_(images)
            images = padded
        count, channels, *lengths = images.stride()
        # an overlapping view, then one copy: measured 2 to 5 times faster than F.unfold
        view = images.as_strided((*images.shape[:2], *self.kernel, *output), (count, channels, *self._steps(lengths)))
        view = view[(slice(None),) * (2 + len(output)) + (span,)]
        if self.groups == 1 and _FEW * math.prod(output) <= self.weight.shape[0]:  # a product likes whole windows best
            view = view.permute(0, *range(2 + len(output), view.ndim), *range(1, 2 + len(output)))
            copy = workspace.take("windows", view.shape, images).copy_(view)
            return copy.flatten(len(output) + 1).flatten(1, len(output)).transpose(1, 2)
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.flatten(1, 1 + len(output)).flatten(2)

    def windows_channels_last(
        self, images: Tensor, output: tuple[int, ...], span: slice, workspace: Workspace
    ) -> Tensor:
        """Return what output positions saw: (images, kernel numbers * channels, positions)."""
        padded = workspace.take("padded", (images.shape[0], *self._padded(images), images.shape[1]), images).zero_()
        self._inner(padded.movedim(-1, 1), images).copy_(images)
        count, *lengths, channels = padded.stride()
        steps = self._steps(lengths)
        kernel, moves = steps[: len(self.kernel)], steps[len(self.kernel) :]
        view = padded.as_strided(
            (images.shape[0], *output, *self.kernel, images.shape[1]), (count, *moves, *kernel, channels)
        )[:, span]
        copy = workspace.take("windows", view.shape, images).copy_(view)
        return copy.flatten(1, len(output)).flatten(2).transpose(1, 2)

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
