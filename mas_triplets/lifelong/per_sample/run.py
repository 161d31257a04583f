"""One estimate under way: a trial on two samples, then batch after batch by the rules or by what stands in for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mas_triplets.errors import UserError
from mas_triplets.lifelong.per_sample.batches import Batch, Output, select, size_of, two_different
from mas_triplets.lifelong.per_sample.calls import real
from mas_triplets.lifelong.per_sample.capture import Capture
from mas_triplets.lifelong.per_sample.fallback import Fallback, Objective, Wrapped, agree, ordinary_gradients
from mas_triplets.lifelong.per_sample.gradients import (
    CACHE_BYTES,
    Gradients,
    Statistic,
    Workspace,
    add_chunked,
    of,
)
from mas_triplets.lifelong.per_sample.knowledge import Learnt
from mas_triplets.lifelong.per_sample.state import frozen
from mas_triplets.lifelong.per_sample.tape import SHARED, Layouts, Recorder, close, layout_of

_PIECE = 2**20  # numbers of a parameter that are compared at a time


class Run:
    """The state of one estimate: totals so far, what is known about the model's calls, and the fallback."""

    def __init__(
        self,
        model: nn.Module,
        parameters: dict[str, Tensor],
        output: Output,
        objective: Objective,
        statistic: Statistic,
        memory_limit_mb: float,
    ) -> None:
        self.model, self.parameters, self.output, self.statistic = model, parameters, output, statistic
        limit = int(memory_limit_mb * 2**20)
        self.device = next(iter(parameters.values())).device
        self.limit = min(limit, CACHE_BYTES) if self.device.type == "cpu" else limit
        self.wrapped = Wrapped(model, output, objective)
        self.fallback = Fallback(self.wrapped, parameters, statistic, limit)
        self.totals = self.fallback.zeros(parameters)
        self.constants = list(model.buffers())
        self.samples = 0
        self.workspace = Workspace.on(self.device, self.limit)
        self.learnt: Learnt | None = None  # until two samples have been compared
        self.took_part: set[str] = set()

    def add(self, batch: Batch) -> Tensor:
        """Add a batch to the totals; return the objective of each sample."""
        size = size_of(batch)
        if self.learnt is None and size > 1:
            self.learnt = self._learn(select(batch, two_different(batch)))
        self.samples += size
        if self.learnt is None:  # a single sample: the ordinary gradient is the per-sample one
            took_part, values = self.fallback.add_by_loop(self.totals, batch, self.parameters)
            self.took_part |= took_part
            return values
        self.took_part |= self.learnt.took_part
        uncovered, _, values = self._add_by_rules(self.totals, batch, self.learnt)
        if uncovered:
            self.fallback.add(self.totals, batch, uncovered)
        return values

    def _learn(self, pair: Batch) -> Learnt:
        """Find the layout of every call from two samples, then check the rules against ordinary gradients."""
        layouts, values, independent = self._layouts(pair)
        # the totals, before anything is in them, serve for the trial: parameters may be many
        trial = self.totals if self.samples == 0 else self.fallback.zeros(self.parameters)
        uncovered, scales, _ = self._add_by_rules(trial, pair, Learnt(layouts, frozenset(), frozenset()), scales=True)
        largest = self._subtract_reference(trial, values)
        excluded = {
            name
            for name, difference in trial.items()
            if name in uncovered
            or not independent
            or not agree(difference, largest.get(name, 0.0), self.fallback.rounding(name), scales.get(name, 0.0))
        }
        for difference in trial.values():
            difference.zero_()
        return Learnt(layouts, frozenset(excluded), frozenset(largest))

    def _layouts(self, pair: Batch) -> tuple[Layouts, Tensor, bool]:
        """Return the layout of every call, the objectives of two samples, and whether one depends on the other."""
        layouts: Layouts = {}
        while True:
            alone, singly = [], []
            for index in (0, 1):
                with Recorder(self.parameters, self.constants, layouts) as recorder:
                    singly.append(self.wrapped(select(pair, slice(index, index + 1))).detach())
                alone.append(recorder.results)
            with Recorder(self.parameters, self.constants, layouts) as together:
                values = self.wrapped(pair)
            found = {
                key: layout_of(alone[0].get(key), alone[1].get(key), result)
                for key, result in together.results.items()
                if key not in layouts
            }
            layouts.update(found)
            # what turned out to be made of parameters alone may uncover calls that take it
            if SHARED not in found.values():
                return layouts, values, close(values, torch.cat(singly), 1e-2)

    def _subtract_reference(self, trial: dict[str, Tensor], values: Tensor) -> dict[str, float]:
        """Subtract the statistics of a few samples by an ordinary backward pass for each; return the largest entries.

        All from one forward of the very numbers that the rules see: a ReLU whose input is zero but for rounding may
        open in one forward and not in another. Parameters that take no part are left out.
        """
        largest: dict[str, float] = {}
        for value in values:
            gradients = ordinary_gradients(value, self.parameters, self.parameters, keep=True)
            for name in self.parameters:
                gradient = gradients.pop(name)  # or all would be kept while those of the next sample are made
                if gradient is None:
                    continue
                most = 0.0
                pieces = (trial[name].view(-1).split(_PIECE), real(gradient).reshape(-1).split(_PIECE))
                for left, piece in zip(*pieces, strict=True):
                    statistic = of(piece, self.statistic)
                    check_finite(statistic, name)  # say so at once
                    left -= statistic
                    most = max(most, float(statistic.max()))
                largest[name] = largest.get(name, 0.0) + most
        return largest

    def _add_by_rules(
        self, totals: dict[str, Tensor], batch: Batch, learnt: Learnt, scales: bool = False
    ) -> tuple[set[str], dict[str, float], Tensor]:
        """Add what rules cover; return the names that they do not, the scales of rounding errors, the objectives."""
        measured: dict[str, float] = {}

        def deliver(name: str, gradients: Gradients) -> None:
            measured[name] = gradients.scale
            gradients.add_to(totals[name], self.statistic, self.limit, self.workspace)

        with frozen(list(self.parameters.values())):
            capture = Capture(
                self.parameters, self.constants, learnt.layouts, size_of(batch), learnt.excluded, deliver, scales
            )
            with capture:
                values = self.wrapped(batch)
            if values.requires_grad:
                with torch.autocast(self.device.type, enabled=False):
                    torch.autograd.grad(values.sum(), capture.anchor)
                    with torch.no_grad():
                        for name, uses in capture.pending.items():
                            if name not in capture.uncovered:
                                measured[name] = sum(use.scale for use in uses)
                                add_chunked(totals[name], uses, self.statistic, self.limit, self.workspace)
        self.took_part.update(measured)
        return capture.uncovered, measured, values.detach()


def check_finite(values: Tensor, name: str) -> None:
    """Raise UserError naming the parameter if a value, >= 0 if it is a number, is not finite."""
    # one pass over the sum usually settles it
    if not math.isfinite(float(values.sum())) and not bool(torch.isfinite(values).all()):
        raise UserError(
            f"the gradient of parameter '{name}' is not finite (nan or inf) for some sample: look for inputs or "
            f"weights that are not finite, or an operation whose gradient is not, such as a square root of zero"
        )
