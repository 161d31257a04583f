"""Importance of parameters: Memory Aware Synapses.

Aljundi et al., "Memory Aware Synapses: Learning what (not) to forget", ECCV 2018. Eq. 3 in its form for outputs with
several dimensions: how fast the squared length of the output changes with a parameter, averaged over samples. No
label is used.

    Omega_p = 1/N sum_n | d ||F(x_n)||_2^2 / d theta_p |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

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
from mas_triplets.lifelong.per_sample.fallback import ordinary_gradients, rounding, zeros_for
from mas_triplets.lifelong.per_sample.gradients import Statistic, of
from mas_triplets.lifelong.per_sample.processes import Combine, Sums, deferred, over_processes
from mas_triplets.lifelong.per_sample.state import undisturbed
from mas_triplets.lifelong.per_sample.statistics import Progress, means, per_sample_statistics, trainable

Mode = Literal["exact", "batched"]

CONSTANT_NORM = (
    "the norm of a normalised output is constant (||F/|F|||^2 = 1), so its gradient, and with it the importance, is "
    "zero everywhere: pass the embedding before normalisation (output=..., a function of (model, batch))"
)


def estimate_importance(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    output: Output | None = None,
    statistic: Statistic = "abs",
    mode: Mode = "exact",
    max_samples: int | None = None,
    memory_limit_mb: float = 512,
    progress: Progress | None = None,
    combine: Combine | None = None,
) -> dict[str, Tensor]:
    """Return the importance Omega of every trainable parameter (MAS, Eq. 3).

    With F(x_n) the output for sample n and N the number of samples, not batches:

    - mode "exact", statistic "abs":     1/N sum_n |d ||F(x_n)||^2 / d theta|      values >= 0, the definition
    - mode "exact", statistic "square":  1/N sum_n (d ||F(x_n)||^2 / d theta)^2
    - mode "batched", for comparison with other code: with g_b the gradient of the mean of ||F||^2 over batch b of n_b
      samples, 1/N sum_b n_b |g_b| (or g_b^2). Signs cancel within a batch, so it is smaller, and depends on
      how the samples are divided into batches; batches of one sample give the exact values.

    The model is in eval mode meanwhile (no dropout; running statistics of BatchNorm used and not updated) and left
    exactly as it was, training flags, buffers, gradients and random state included, also after an error.

    Args:
        model: any module.
        batches: tensors, or tuples whose first item is the input; the first axis counts samples.
        output: (model, batch) -> (samples, features), where the model itself does not return that. It must be the
            embedding before any normalisation.
        statistic: "abs" or "square".
        mode: "exact" or "batched".
        max_samples: use exactly this many samples (of this process), cutting the last batch.
        memory_limit_mb: see `per_sample_statistics`.
        progress: called after each batch with the number of samples done (in this process).
        combine: for several processes that each have their own samples: sums a tensor over all of them, see `Combine`.
            Sums and counts are combined before the division, and every process gets the same result. In mode
            "batched" the batches b are those of all processes.

    Returns:
        Parameter name to a float32 tensor of its shape, on its device.

    Raises:
        UserError: no samples; a value that is not finite (the parameter is named); an Omega that is zero everywhere,
            or rounding noise, because the output is normalised.

    Example:
        F(x) = w2 w1 x with w1 = 2, w2 = 3 and samples x = 1, -1, 2: ||F||^2 = (w1 w2 x)^2, so the gradients are
        2 w1 w2^2 x^2 = 36, 36, 144 for w1 with mean 72, and 2 w1^2 w2 x^2 = 24, 24, 96 for w2 with mean 48.
    """
    if mode not in ("exact", "batched"):
        raise unknown("mode", mode, ["exact", "batched"])
    if statistic not in ("abs", "square"):
        raise unknown("statistic", statistic, ["abs", "square"])
    if mode == "exact":
        omega = per_sample_statistics(
            model,
            batches,
            squared_norm,
            output=output,
            statistic=statistic,
            max_samples=max_samples,
            memory_limit_mb=memory_limit_mb,
            progress=progress,
            inspect=refuse_constant_norm,
            combine=combine,
        )
    else:
        omega = _batched(model, batches, checked(output), statistic, max_samples, progress, combine)
    if not any(float(values.sum()) > 0 for values in omega.values()):
        raise UserError(f"the importance is zero for every parameter. Is the output normalised? If so: {CONSTANT_NORM}")
    return omega


def squared_norm(output: Tensor, batch: Batch) -> Tensor:
    """Return ||F(x_n)||^2 of each sample: (samples, ...) -> (samples,)."""
    return real(output).square().reshape(output.shape[0], -1).sum(1)


def _batched(
    model: nn.Module,
    batches: Iterable[Batch],
    output: Output,
    statistic: Statistic,
    max_samples: int | None,
    progress: Progress | None,
    combine: Combine | None,
) -> dict[str, Tensor]:
    """1/N sum_b n_b |g_b| with g_b the gradient of a batch's mean: see `estimate_importance`."""
    parameters = trainable(model)
    device = next(iter(parameters.values())).device
    with undisturbed(model):
        totals = {name: zeros_for(parameter) for name, parameter in parameters.items()}
        sums = Sums(totals, 0, set())
        with deferred(combine) as errors:
            for batch in prepared(batches, device, max_samples):
                size = size_of(batch)
                norms = squared_norm(output(model, batch), batch)
                if sums.samples == 0:
                    refuse_constant_norm(model, output, batch, norms.detach())
                for name, gradient in ordinary_gradients(norms.mean(), parameters, parameters).items():
                    if gradient is not None:
                        totals[name].add_(of(real(gradient), statistic), alpha=size)
                        sums.took_part.add(name)
                sums.samples += size
                if progress is not None:
                    progress(sums.samples)
        return means(over_processes(sums, combine, errors))


def refuse_constant_norm(model: nn.Module, output: Output, batch: Batch, norms: Tensor) -> None:
    """Raise UserError if the output is normalised, so that Omega would be zero but for rounding noise.

    In floating point the gradient of a constant norm is not zero but noise, some 1e-7 of what it could be. The output
    is called normalised if both hold:

    1. the squared norms `norms` of all samples of the batch are equal, to 64 units of rounding;
    2. for most parameters (by count of numbers), J^T 2F is less than sqrt(eps) times J^T 2|F|u, with J the Jacobian
       for two samples and u a random direction: lengthening the output has no effect on a scale where turning it
       has. That is 3e-4 in float32, a thousand times above the noise; without normalisation the ratio is near 1.
    """
    spread = float(norms.max() - norms.min())
    parameters = trainable(model)
    # a forward, to see the output's own type, is only worth its cost where the norms are suspect
    eps = max(rounding(parameter.dtype, norms.device) for parameter in parameters.values())
    if not spread <= 64 * eps * float(norms.max()):
        return
    values = output(model, select(batch, two_different(batch)))
    if not values.requires_grad:
        return
    eps = max(eps, torch.finfo(values.dtype).eps)
    flat = real(values).reshape(values.shape[0], -1)
    lengths = flat.detach().norm(dim=1)
    generator = torch.Generator().manual_seed(0)  # its own: the caller's random state is not touched
    turned = torch.randn(flat.shape, generator=generator).to(flat.device, flat.dtype)
    turned = turned * (lengths / turned.norm(dim=1))[:, None]
    along = ordinary_gradients((flat.detach() * 2 * flat).sum(), parameters, parameters, keep=True)
    across = ordinary_gradients((turned * 2 * flat).sum(), parameters, parameters)
    still = moving = 0
    for name, reference in across.items():
        gradient = along[name]
        if gradient is None or reference is None or not float(reference.norm()) > 0:
            continue
        if float(gradient.norm()) <= eps**0.5 * float(reference.norm()):
            still += gradient.numel()
        else:
            moving += gradient.numel()
    if still > moving:
        raise UserError(f"the importance would be zero, or rounding noise: {CONSTANT_NORM}")
