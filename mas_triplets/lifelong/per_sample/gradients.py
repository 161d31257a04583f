"""The per-sample gradients of one use of one parameter, from what a backward pass leaves behind.

For an input A and an output gradient Delta of a layer, the gradient of sample n's objective is linear in Delta and sums
over the positions p of the sample (tokens, windows of a convolution):

    product of rows and columns   G_n[i, j] = sum_p Delta_n[i, p] A_n[j, p]       Linear, convolutions, x @ W
    something direct              G_n                                             biases, scales, sums with a parameter
    rows of a table               G_n[v] = sum_{p: index_np = v} Delta_n[p]       Embedding

What is wanted is sum_n |G_n| or sum_n G_n^2, added to a running total. With a single position |G_n| is an outer product
of absolute values, so its sum over samples is one matrix product. Otherwise G_n is built for a few samples at a time:
few enough to stay in the processor's cache, and never more than the memory limit allows.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

Statistic = Literal["abs", "square"]

# On a CPU a chunk that fits the cache is 2 to 5 times faster than the whole batch at once (benchmarks.importance).
CACHE_BYTES = 8 * 2**20
# What is read and written several times in a row should fit the cache of one core together with what it is added to.
BLOCK_BYTES = 3 * 2**18


def chunks(samples: int, bytes_per_sample: int, limit: int) -> Iterator[slice]:
    """Cut `samples` into equal slices of at most `limit` bytes each, but of one sample at least."""
    most = max(1, min(samples, limit // max(1, bytes_per_sample)))
    step = -(-samples // -(-samples // most))
    for start in range(0, samples, step):
        yield slice(start, min(samples, start + step))


class Workspace:
    """Buffers that are used again for every layer and batch: fresh memory costs more than the sums made in it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, use: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return an uninitialised tensor for this use; the one taken before for the same use is overwritten."""
        count = math.prod(shape)
        held = self._buffers.get((use, like.dtype))
        if held is None or held.numel() < count:
            held = self._buffers[use, like.dtype] = like.new_empty(count)
        return held[:count].view(*shape)

    @property
    def held(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    @staticmethod
    def on(device: torch.device, limit: int) -> Workspace:
        """Return a workspace for a device. On a CPU it is small (`CACHE_BYTES`), and each thread keeps its own.

        One that holds more than `limit` bytes, from a call that was allowed more, is not used again.
        """
        if device.type != "cpu":
            return Workspace()
        if not hasattr(_of_thread, "workspace") or _of_thread.workspace.held > limit:
            _of_thread.workspace = Workspace()
        kept: Workspace = _of_thread.workspace
        return kept


_of_thread = threading.local()


def of(gradient: Tensor, statistic: Statistic) -> Tensor:
    """Return |g| or g^2, elementwise."""
    return gradient.abs() if statistic == "abs" else gradient.square()


def summed_over_samples(values: Tensor) -> Tensor:
    """Return the sum over the first axis: as a product with ones up to twice as fast as by `sum`."""
    return (values.new_ones(values.shape[0]) @ values.flatten(1)).view(values.shape[1:])


class Gradients(ABC):
    """Per-sample gradients of one parameter of shape `shape` over `samples` samples."""

    samples: int
    shape: torch.Size
    dtype: torch.dtype
    scale: float = 0.0  # what rounding errors are measured by; only filled in where asked for

    @abstractmethod
    def of_samples(self, samples: slice, workspace: Workspace) -> Tensor:
        """Return the signed gradients of some samples, (samples, *shape). The caller must not write to it."""

    @property
    def bytes_per_sample(self) -> int:
        """Working memory that one sample's gradient needs."""
        return 2 * self.shape.numel() * self.dtype.itemsize

    def add_to(self, total: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        """Add sum_n |G_n| (or G_n^2) to `total`, in chunks of at most `limit` bytes."""
        add_chunked(total, [self], statistic, limit, workspace)


def add_chunked(total: Tensor, uses: list[Gradients], statistic: Statistic, limit: int, workspace: Workspace) -> None:
    """Add the statistic of a parameter used in several places: a sample's gradients are summed first."""
    for samples in chunks(uses[0].samples, sum(use.bytes_per_sample for use in uses), limit):
        gradient = uses[0].of_samples(samples, workspace)
        for use in uses[1:]:
            gradient = gradient + use.of_samples(samples, workspace)
        total += of(gradient, statistic).sum(0)


class Direct(Gradients):
    """Gradients that one expression gives.

    Args:
        samples, shape, dtype: of the gradients.
        compute: samples -> (samples, *computed).
        bytes_per_sample: working memory that it needs.
        restore: (..., *computed) -> (..., *shape), where that is more than a reshape.
    """

    def __init__(
        self,
        samples: int,
        shape: torch.Size,
        dtype: torch.dtype,
        compute: Callable[[slice], Tensor],
        bytes_per_sample: int,
        restore: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.samples, self.shape, self.dtype = samples, shape, dtype
        self.compute, self.work, self.restore = compute, bytes_per_sample, restore

    @override
    def of_samples(self, samples: slice, workspace: Workspace) -> Tensor:
        gradient = self.compute(samples)
        return (gradient if self.restore is None else self.restore(gradient)).reshape(-1, *self.shape)

    @property
    @override
    def bytes_per_sample(self) -> int:
        return self.work

    @override
    def add_to(self, total: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        for samples in chunks(self.samples, self.work, limit):
            gradient = of(self.compute(samples), statistic)
            summed = summed_over_samples(gradient)
            total += summed.view(self.shape) if self.restore is None else self.restore(summed)


class TableRows(Gradients):
    """Gradients of a table (entries, numbers) of which each position of a sample took one row.

    Args:
        shape: the table's.
        index: (samples, positions), the row taken at each.
        delta: (samples, positions, numbers).
    """

    def __init__(self, shape: torch.Size, index: Tensor, delta: Tensor) -> None:
        self.samples, self.shape, self.dtype = index.shape[0], shape, delta.dtype
        self.index, self.delta = index, delta

    @override
    def of_samples(self, samples: slice, workspace: Workspace) -> Tensor:
        index, delta = self.index[samples], self.delta[samples]
        count, entries = index.shape[0], self.shape[0]
        place = index + entries * torch.arange(count, device=index.device)[:, None]
        gradient = delta.new_zeros(count * entries, self.shape[1])
        gradient.index_add_(0, place.flatten(), delta.flatten(0, 1))
        return gradient.view(count, *self.shape)

    @override
    def add_to(self, total: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        """Only rows that were taken are touched, so a large vocabulary costs nothing."""
        entries = self.shape[0]
        offset = entries * torch.arange(self.samples, device=self.index.device)[:, None]
        taken, slot = torch.unique(self.index + offset, return_inverse=True)
        gradient = self.delta.new_zeros(taken.shape[0], self.shape[1])
        gradient.index_add_(0, slot.flatten(), self.delta.flatten(0, 1))
        total.index_add_(0, taken % entries, of(gradient, statistic))


class Derived(Gradients):
    """Gradients of a parameter from those of a tensor that was computed from parameters alone.

    Args:
        of_derived: per-sample gradients of the derived tensor (a slice, a transpose, a normalised weight).
        derived: that tensor, with the graph that leads to `source`.
        source: the parameter, as a leaf of that graph.
    """

    def __init__(self, of_derived: Gradients, derived: Tensor, source: Tensor) -> None:
        self.samples, self.shape, self.dtype = of_derived.samples, source.shape, of_derived.dtype
        self.of_derived, self.derived, self.source = of_derived, derived, source
        self.scale = of_derived.scale

    @override
    def of_samples(self, samples: slice, workspace: Workspace) -> Tensor:
        given = self.of_derived.of_samples(samples, workspace).to(self.derived.dtype)
        found: Sequence[Tensor | None] = torch.autograd.grad(
            self.derived, self.source, given, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        gradient = found[0]
        if gradient is None:
            return given.new_zeros(given.shape[0], *self.shape)
        return gradient.to(self.dtype)

    @property
    @override
    def bytes_per_sample(self) -> int:
        return self.of_derived.bytes_per_sample + 4 * self.shape.numel() * self.dtype.itemsize
