"""Exact per-sample statistics of parameter gradients, at about the cost of one backward pass.

For a model F, a scalar objective o_n = o(F(x_n)) a sample and every parameter p:

    mean_n |d o_n / d p|    (statistic "abs")       mean_n (d o_n / d p)^2    (statistic "square")

The absolute value is taken per sample, before the mean, so neither is a function of the ordinary batch gradient. One
forward and one backward pass for the gradients of activations give, at each call of a function with parameters, the
input A and the output gradient Delta; per-sample gradients follow in closed form (`rules.py`), and are
summed, chunk by chunk, without ever being stored for the whole batch (`gradients.py`).

How it is known that a rule applies. First, every torch function that takes a parameter is seen
(`tape.py`): one that no rule covers sends its parameters to `torch.func.vmap(grad)`, in that batch. Second,
on two different samples of the first batch the outcome is compared, parameter by parameter, with ordinary backward
passes of one sample each; whatever differs by more than rounding goes that slower way for good. Third, vmap is compared
in the same manner, and replaced by a loop over samples where it fails. What was found is remembered for as long as the
model and its code stay the same (`knowledge.py`).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mas_triplets.errors import UserError, unknown
from mas_triplets.lifelong.per_sample.batches import (
    Batch,
    Output,
    checked,
    prepared,
    select,
    size_of,
    two_different,
)
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
from mas_triplets.lifelong.per_sample.knowledge import Knowledge, Learnt
from mas_triplets.lifelong.per_sample.state import frozen, undisturbed
from mas_triplets.lifelong.per_sample.tape import SHARED, Layouts, Recorder, layout_of

Progress = Callable[[int], None]
# Looks at the objective of every sample of the first batch, and may refuse: (model, output, batch, objectives).
Inspect = Callable[[nn.Module, Output, Batch, Tensor], None]


def per_sample_statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    output: Output | None = None,
    statistic: Statistic = "abs",
    max_samples: int | None = None,
    memory_limit_mb: float = 512,
    progress: Progress | None = None,
    inspect: Inspect | None = None,
) -> dict[str, Tensor]:
    """Return the mean over samples of |gradient| or gradient^2 of a per-sample objective, for every parameter.

    The model is used in eval mode and left exactly as it was. Samples must not influence each other in the forward.

    Args:
        model: any module; parameters that do not require gradients are left out.
        batches: tensors, or tuples whose first item is the input; the first axis counts samples. They are moved to
            the model's device.
        objective: (output, batch) -> (samples,), a scalar a sample, in terms of which gradients are meant. With
            labels in the batch and a log-likelihood, statistic "square" is the diagonal of the empirical Fisher.
        output: (model, batch) -> (samples, ...); by default the model is called with the batch's first item.
        statistic: "abs" or "square".
        max_samples: use exactly this many samples, cutting the last batch.
        memory_limit_mb: bound of the working memory for per-sample gradients in MiB, beyond what a forward and
            backward pass of a batch needs. One sample's gradient of a parameter that is used in several places,
            or that no rule covers, must fit.
        progress: called after each batch with the number of samples done.
        inspect: see `Inspect`.

    Returns:
        Parameter name, as in `model.named_parameters()`, to a float32 tensor of its shape on its device. Sums are
        kept in float32, or float64 for float64 parameters. A parameter that takes no part has zeros, and a warning
        names it.

    Raises:
        UserError: no samples, no trainable parameters, an output or objective of the wrong shape, or a parameter
            whose statistic is not finite (it is named).
    """
    if statistic not in ("abs", "square"):
        raise unknown("statistic", statistic, ["abs", "square"])
    if memory_limit_mb <= 0:
        raise UserError(f"memory_limit_mb must be greater than 0, not {memory_limit_mb}")
    parameters = trainable(model)
    device = next(iter(parameters.values())).device
    with undisturbed(model):
        run = _Run(model, parameters, checked(output), _checked_objective(objective), statistic, memory_limit_mb)
        known = Knowledge(model, output, objective, statistic)
        for batch in prepared(batches, device, max_samples):
            if run.samples == 0:
                run.learnt = known.recall(batch)
            values = run.add(batch)
            if run.samples == size_of(batch):
                if inspect is not None:
                    inspect(model, run.output, batch, values)
                if run.learnt is not None:
                    known.keep(batch, run.learnt)
            if progress is not None:
                progress(run.samples)
        return run.means()


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that require gradients, by name; UserError if there is none."""
    found: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise UserError("the model has no parameter with requires_grad=True, so there is no importance to estimate")
    return found


def mean_of(total: Tensor, samples: int, name: str) -> Tensor:
    """Return total / samples in float32; UserError naming the parameter if a value is not finite."""
    mean = total.div_(samples).float()
    # values are >= 0, so one pass over the sum usually settles it
    if not math.isfinite(float(mean.sum())) and not bool(torch.isfinite(mean).all()):
        raise UserError(
            f"the gradient of parameter '{name}' is not finite (nan or inf) for some sample: look for inputs or "
            f"weights that are not finite, or an operation whose gradient is not, such as a square root of zero"
        )
    return mean


def _checked_objective(objective: Objective) -> Objective:
    def run(output: Tensor, batch: Batch) -> Tensor:
        values = objective(output, batch)
        if values.shape != (size_of(batch),):
            raise UserError(
                f"the objective must give one number a sample, shape ({size_of(batch)},), not {tuple(values.shape)}"
            )
        return values

    return run


class _Run:
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
        self.workspace = Workspace.on(self.device)
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

    def means(self) -> dict[str, Tensor]:
        """Return the totals divided by the number of samples."""
        if self.samples == 0:
            raise UserError("no samples: `batches` gave none, so there is no importance to estimate")
        unused = sorted(set(self.parameters) - self.took_part)
        if unused:
            warnings.warn(
                f"parameters that take no part in the output have importance zero: {', '.join(unused)}",
                stacklevel=3,
            )
        return {name: mean_of(total, self.samples, name) for name, total in self.totals.items()}

    def _learn(self, pair: Batch) -> Learnt:
        """Find the layout of every call from two samples, then check the rules against ordinary gradients."""
        layouts: Layouts = {}
        reference: dict[str, Tensor] = {}
        took_part: set[str] = set()
        independent = True
        while True:
            alone = []
            for index in (0, 1):
                with Recorder(self.parameters, self.constants, layouts) as recorder:
                    alone.append((self.wrapped(select(pair, slice(index, index + 1))), recorder.results))
            with Recorder(self.parameters, self.constants, layouts) as together:
                values = self.wrapped(pair)
            if not reference:
                reference, took_part = self._reference(values)
                singly = torch.cat([value.detach() for value, _ in alone])
                independent = torch.allclose(values, singly, rtol=1e-2, atol=1e-2 * float(singly.abs().max()))
            found = {
                key: layout_of(alone[0][1].get(key), alone[1][1].get(key), result)
                for key, result in together.results.items()
                if key not in layouts
            }
            layouts.update(found)
            # what turned out to be made of parameters alone may uncover calls that take it
            if SHARED not in found.values():
                break
        ours = self.fallback.zeros(self.parameters)
        learnt = Learnt(layouts, frozenset(), frozenset(took_part))
        uncovered, scales, _ = self._add_by_rules(ours, pair, learnt, scales=True)
        excluded = frozenset(
            name
            for name in self.parameters
            if name in uncovered
            or not independent
            or not agree(ours[name], reference[name], self.fallback.rounding(name), scales.get(name, 0.0))
        )
        return dataclasses.replace(learnt, excluded=excluded)

    def _reference(self, values: Tensor) -> tuple[dict[str, Tensor], set[str]]:
        """Return the statistics of a few samples by an ordinary backward pass for each, and who took part.

        All from one forward, the very numbers that the rules see: a ReLU whose input is zero but for rounding may open
        in one forward and not in another.
        """
        totals = self.fallback.zeros(self.parameters)
        took_part = set()
        for value in values:
            gradients = ordinary_gradients(value, self.parameters, self.parameters, keep=True)
            for name, gradient in gradients.items():
                if gradient is not None:
                    totals[name] += of(real(gradient), self.statistic)
                    took_part.add(name)
        for name, total in totals.items():
            mean_of(total.clone(), 1, name)  # not finite already: say so at once
        return totals, took_part

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
