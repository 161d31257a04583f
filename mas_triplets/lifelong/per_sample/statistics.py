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

import warnings
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from mas_triplets.errors import UserError, unknown
from mas_triplets.lifelong.per_sample.batches import Batch, Output, checked, prepared, size_of
from mas_triplets.lifelong.per_sample.fallback import Objective
from mas_triplets.lifelong.per_sample.gradients import Statistic
from mas_triplets.lifelong.per_sample.knowledge import Knowledge
from mas_triplets.lifelong.per_sample.processes import Combine, Sums, deferred, over_processes
from mas_triplets.lifelong.per_sample.run import Run, check_finite
from mas_triplets.lifelong.per_sample.state import undisturbed

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
    combine: Combine | None = None,
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
        max_samples: use exactly this many samples (of this process), cutting the last batch.
        memory_limit_mb: bound of the working memory for per-sample gradients in MiB, beyond what a forward and
            backward pass of a batch needs. One sample's gradient of a parameter that is used in several places,
            or that no rule covers, must fit.
        progress: called after each batch with the number of samples done (in this process).
        inspect: see `Inspect`.
        combine: for several processes that each have their own samples, maybe none: see `Combine`. The result is the
            same in all of them, that of all samples together.

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
        run = Run(model, parameters, checked(output), _checked_objective(objective), statistic, memory_limit_mb)
        known = Knowledge(model, output, objective, statistic)
        with deferred(combine) as errors:
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
        sums = over_processes(Sums(run.totals, run.samples, run.took_part), combine, errors)
        return means(sums)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that require gradients, by name; UserError if there is none."""
    found: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise UserError("the model has no parameter with requires_grad=True, so there is no importance to estimate")
    return found


def means(sums: Sums) -> dict[str, Tensor]:
    """Return the totals divided by the number of samples, and warn of parameters that took no part."""
    unused = sorted(set(sums.totals) - sums.took_part)
    if unused:
        warnings.warn(
            f"parameters that take no part in the output have importance zero: {', '.join(unused)}",
            stacklevel=3,
        )
    return {name: mean_of(total, sums.samples, name) for name, total in sums.totals.items()}


def mean_of(total: Tensor, samples: int, name: str) -> Tensor:
    """Return total / samples in float32; UserError naming the parameter if a value is not finite."""
    mean = total.div_(samples).float()
    check_finite(mean, name)
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
