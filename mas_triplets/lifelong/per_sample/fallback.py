"""The slow ways, for parameters that no rule covers, and the reference that everything is compared with.

First `torch.func.vmap(grad)`: all samples of a chunk at once, for the uncovered parameters only. Where vmap refuses
(control flow that depends on data, functions without a batching rule) or does not agree with ordinary gradients, one
ordinary backward pass a sample: the documented last resort, told through a warning.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn

from mas_triplets.lifelong.per_sample.batches import (
    Batch,
    Output,
    map_tensors,
    select,
    size_of,
    tensors_in,
    two_different,
)
from mas_triplets.lifelong.per_sample.calls import real
from mas_triplets.lifelong.per_sample.gradients import Statistic, chunks, of
from mas_triplets.lifelong.per_sample.state import frozen

Objective = Callable[[Tensor, Batch], Tensor]


class Wrapped(nn.Module):
    """`output(model, batch)` as one module, so that its parameters can be exchanged for a call."""

    def __init__(self, model: nn.Module, output: Output, objective: Objective) -> None:
        super().__init__()
        self.model, self.output, self.objective = model, output, objective

    def forward(self, batch: Batch) -> Tensor:
        """Return the objective of each sample of the batch."""
        return self.objective(self.output(self.model, batch), batch)


def ordinary_gradients(
    objective: Tensor, parameters: dict[str, Tensor], names: Iterable[str], keep: bool = False
) -> dict[str, Tensor | None]:
    """Return the gradient of a scalar for each name; None where the parameter took no part."""
    wanted = list(names)
    if not objective.requires_grad:
        return dict.fromkeys(wanted)
    found = torch.autograd.grad(objective, [parameters[name] for name in wanted], allow_unused=True, retain_graph=keep)
    dense = (None if g is None else g.to_dense() if g.is_sparse else g for g in found)
    return dict(zip(wanted, dense, strict=True))


def zeros_for(parameter: Tensor) -> Tensor:
    """Return a total of zero, float32 at least, whatever order the parameter's numbers have in memory."""
    return torch.zeros_like(real(parameter.detach()), memory_format=torch.contiguous_format)


def rounding(dtype: torch.dtype, device: torch.device) -> float:
    """Return the relative rounding error of the type that a model with such parameters computes in."""
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    return torch.finfo(dtype).eps


def agree(difference: Tensor, largest: float, eps: float, scale: float = 0.0) -> bool:
    """Tell whether two statistics of the same few samples differ by rounding only.

    Args:
        difference: ours less the reference.
        largest: entry of the reference.
        eps: the model's `rounding`; on a GPU ordinary gradients may be computed in TF32, which has three digits.
        scale: what the sums would be without cancellation. A gradient that is zero by symmetry (the bias of
            attention's keys) is pure rounding noise, different in either way.
    """
    relative = max(1e-4 if difference.device.type == "cpu" else 2e-3, 8 * eps)
    return float(torch.linalg.vector_norm(difference, math.inf)) <= relative * largest + 8 * eps * scale


class Fallback:
    """Per-sample statistics without any rule.

    Args:
        wrapped: the model, its output and objective in one.
        parameters: name -> parameter, those wanted.
        statistic: abs or square.
        limit: bytes that per-sample gradients may take at a time.
    """

    def __init__(self, wrapped: Wrapped, parameters: dict[str, Tensor], statistic: Statistic, limit: int) -> None:
        self.wrapped, self.parameters, self.statistic, self.limit = wrapped, parameters, statistic, limit
        self.verified: set[str] = set()  # vmap gave what ordinary gradients give
        self.refused: set[str] = set()  # vmap failed or disagreed

    def zeros(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return a total of zero for each name, float32 at least."""
        return {name: zeros_for(self.parameters[name]) for name in names}

    def add(self, totals: dict[str, Tensor], batch: Batch, names: Collection[str]) -> None:
        """Add the batch's statistics of these parameters to `totals`."""
        unknown = sorted(set(names) - self.verified - self.refused)
        if unknown:
            self._verify(batch, unknown)
        by_map = sorted(self.verified.intersection(names))
        by_loop = sorted(self.refused.intersection(names))
        if by_map:
            self._add_by_map(totals, batch, by_map)
        if by_loop:
            self.add_by_loop(totals, batch, by_loop)

    def _verify(self, batch: Batch, names: list[str]) -> None:
        """Sort names into `verified` and `refused` by what vmap makes of two samples."""
        pair = select(batch, two_different(batch))
        reference, ours = self.zeros(names), self.zeros(names)
        self.add_by_loop(reference, pair, names)
        reason = "it disagrees with ordinary gradients"
        agreeing: set[str] = set()
        try:
            self._add_by_map(ours, pair, names)
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            agreeing = {
                name
                for name in names
                if agree(ours[name] - reference[name], float(reference[name].max()), self.rounding(name))
            }
        self.verified |= agreeing
        refused = sorted(set(names) - agreeing)
        if refused:
            self.refused.update(refused)
            warnings.warn(
                f"per-sample gradients of {_few(refused)} need one backward pass a sample, which is slow: "
                f"torch.func.vmap cannot be used here ({reason[:200]})",
                stacklevel=2,
            )

    def rounding(self, name: str) -> float:
        """Return the relative rounding error that gradients of this parameter have."""
        return rounding(self.parameters[name].dtype, self.parameters[name].device)

    def _add_by_map(self, totals: dict[str, Tensor], batch: Batch, names: list[str]) -> None:
        size = size_of(batch)
        held = sum(self.parameters[name].numel() * self.parameters[name].element_size() for name in names)
        values = {f"model.{name}": self.parameters[name].detach() for name in names}

        def objective(values: dict[str, Tensor], *mapped: Tensor) -> Tensor:
            samples = iter(mapped)
            batch_of_one = map_tensors(
                template, lambda tensor: next(samples).unsqueeze(0) if _along(tensor, size) else tensor
            )
            result: Tensor = torch.func.functional_call(self.wrapped, values, (batch_of_one,))
            return result.sum()

        for part in chunks(size, 3 * held, self.limit):
            # the template keeps the batch's own size, so that `_along` picks the same tensors as in `select`
            template = batch
            mapped = [tensor[part] for tensor in tensors_in(batch) if _along(tensor, size)]
            mapped_gradient = torch.func.vmap(
                torch.func.grad(objective), in_dims=(None, *[0] * len(mapped)), randomness="different"
            )
            with frozen(list(self.parameters.values())):  # or a graph for the others would be kept as well
                gradients = mapped_gradient(values, *mapped)
            for name in names:
                totals[name] += of(real(gradients[f"model.{name}"]), self.statistic).sum(0)

    def add_by_loop(self, totals: dict[str, Tensor], batch: Batch, names: Collection[str]) -> tuple[set[str], Tensor]:
        """Add one sample at a time by ordinary backward passes; return who took part, and the objectives."""
        took_part: set[str] = set()
        values = []
        for index in range(size_of(batch)):
            value = self.wrapped(select(batch, slice(index, index + 1))).sum()
            for name, gradient in ordinary_gradients(value, self.parameters, names).items():
                if gradient is not None:
                    totals[name] += of(real(gradient), self.statistic)
                    took_part.add(name)
            values.append(value.detach())
        return took_part, torch.stack(values)


def _along(tensor: Tensor, size: int) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] == size


def _few(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
