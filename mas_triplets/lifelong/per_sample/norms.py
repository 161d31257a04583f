"""Per-sample gradients of the weights and biases of normalisation layers."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout, real, summed
from mas_triplets.lifelong.per_sample.gradients import Gradients


class NormCall(Call):
    """y = w n(x) + b, where n is a normalisation without parameters and each channel has one w and one b."""

    def __init__(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
        self.input, self.weight, self.bias = input, weight, bias

    @abstractmethod
    def normalised(self, value: Tensor) -> Tensor:
        """Return n(value) for values shaped like the input, with any number of entries on the first axis.

        A factor that each channel has is left to `scale`. The result is a tensor of its own.
        """

    def scale(self) -> Tensor | None:
        """Return the factor of each channel that `normalised` leaves out."""
        return None

    @override
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

        return summed(rows.shape[2:3], rows, factor, self.scale())


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

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        return None if self.training else super().gradients(name, delta, layout, samples)

    @override
    def normalised(self, value: Tensor) -> Tensor:
        assert self.mean is not None
        return value - self.mean.view(-1, *(1,) * (value.ndim - 2))

    @override
    def scale(self) -> Tensor:
        assert self.variance is not None
        return real(self.variance + self.eps).rsqrt()


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

    @override
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

    @override
    def gradients(self, name: str, delta: Tensor, layout: Layout, samples: int) -> Gradients | None:
        rows = layout.samples_first(real(delta), samples)
        values = layout.samples_first(self.input, samples)
        if rows is None or values is None or layout.axis >= delta.ndim - len(self.shape):
            return None
        inputs = values
        rows = rows.reshape(samples, -1, self.shape.numel(), 1)  # (samples, positions, numbers, 1)
        if name == "bias":
            return summed(self.shape, rows)
        return summed(self.shape, rows, lambda part: real(self.normalised(inputs[part])).reshape(-1, *rows.shape[1:]))


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

    @override
    def normalised(self, value: Tensor) -> Tensor:
        return F.rms_norm(value, list(self.shape), eps=self.eps)
