"""What becomes of a measured importance before it holds anything: root, scale, control, sum over tasks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError

OMEGA = ("root", "normalise", "control", "accumulate", "decay")
"""Keys of what becomes of a measured importance."""

_NOISE = 1e-6  # of the mean importance: what single precision leaves of a gradient that is zero
_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_QUANTILE_SAMPLE = 1_000_000  # torch.quantile takes at most 16 million numbers; a regular sample serves a log


def prepared(omega: Mapping[str, Tensor], config: LifelongConfig, seed: int) -> dict[str, Tensor]:
    """Return one task's importance as it is accumulated: its root, scaled, replaced by a control, as `config` says.

    Args:
        omega: importance by parameter name, >= 0.
        config: `root`, `normalise` and `control`.
        seed: of the run; decides how a control shuffles.

    Raises:
        UserError: it is zero everywhere, or not finite.
    """
    # in one layout, that in which they are written to disk: sums must not depend on whether they were
    found = {name: value.contiguous() for name, value in omega.items()}
    if config.root:
        found = {name: value.sqrt() for name, value in found.items()}
    mean = mean_over_all(found)
    if not 0 < mean < math.inf:
        raise UserError(
            f"the mean importance measured after this task is {mean:g}, so it cannot tell what to hold: is anything "
            "learnt at all (train.learning_rate_factors), and is the loss more than 0?"
        )
    if config.normalise == "mean":
        found = divided_by_mean(found)
    elif config.normalise == "layer":
        found = divided_by_own_mean(found)
    return controlled(found, config.control, seed)


def controlled(omega: Mapping[str, Tensor], control: str, seed: int) -> dict[str, Tensor]:
    """Return a control of an importance: another one with the same total, so that both hold equally much.

    - shuffled: the values of each tensor in a random order, the same in every task: what is lost is which weight;
    - layer-mean: each tensor's mean: what is left is which layer;
    - uniform: the mean over all parameters, l2 at the scale of the importance.

    An importance whose control does as well has not shown that it matters.

    Example: {"a": [1, 3], "b": [5]} becomes {"a": [2, 2], "b": [5]} and {"a": [3, 3], "b": [3]}.
    """
    if control == "shuffled":
        return {name: _shuffled(value, name, seed) for name, value in omega.items()}
    if control == "layer-mean":
        return {name: torch.full_like(value, float(value.double().mean())) for name, value in omega.items()}
    if control == "uniform":
        mean = mean_over_all(omega)
        return {name: torch.full_like(value, mean) for name, value in omega.items()}
    return dict(omega)


def _shuffled(value: Tensor, name: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))
    order = torch.randperm(value.numel(), generator=generator).to(value.device)
    return value.flatten()[order].view(value.shape)


def mean_over_all(omega: Mapping[str, Tensor]) -> float:
    """Return the mean over all numbers of all tensors."""
    count = sum(value.numel() for value in omega.values())
    return sum(float(value.double().sum()) for value in omega.values()) / count


def divided_by_mean(importance: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide by the mean over all parameters, so that one strength serves tasks and models of any scale.

    Example: {"a": [1, 3], "b": [2]} has the mean 2 and becomes {"a": [0.5, 1.5], "b": [1]}.
    """
    mean = mean_over_all(importance)
    return {name: omega / mean for name, omega in importance.items()}


def divided_by_own_mean(importance: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide each tensor by its own mean: what counts is then which weights of a layer matter, not which layer.

    A tensor that is zero everywhere (its parameter is not used) stays zero, and one of which nothing is left but noise
    (under a millionth of the mean over all: the bias of attention's keys, whose gradient is zero) becomes zero.

    Example: {"a": [1, 3], "b": [4]} becomes {"a": [0.5, 1.5], "b": [1]}.
    """
    least = _NOISE * mean_over_all(importance)
    return {
        name: omega / mean if (mean := omega.double().mean().float()) > least else torch.zeros_like(omega)
        for name, omega in importance.items()
    }


def accumulate(
    before: dict[str, Tensor], measured: dict[str, Tensor], config: LifelongConfig, tasks: int
) -> dict[str, Tensor]:
    """Join the importance of `tasks` earlier tasks with the one just measured, as `config.accumulate` says.

    sum: before + measured (the paper's). mean: of all tasks so far. ema: decay * before + (1 - decay) * measured.
    max: the larger of the two. decay: decay * before + measured (online EWC). The first task's is taken as it is.
    """
    if not before:
        return measured
    rules = {
        "sum": lambda old, new: old + new,
        "mean": lambda old, new: old + (new - old) / (tasks + 1),
        "ema": lambda old, new: config.decay * old + (1 - config.decay) * new,
        "max": torch.maximum,
        "decay": lambda old, new: config.decay * old + new,
    }
    rule = rules[config.accumulate]
    return {name: rule(before[name], omega) for name, omega in measured.items()}


def describe(omega: Tensor) -> dict[str, float]:
    """Return mean, max and quantiles of one tensor's importance, for the log."""
    flat = omega.detach().float().flatten()
    sample = flat[:: max(1, flat.numel() // _QUANTILE_SAMPLE)]
    quantiles = torch.quantile(sample, torch.tensor(_QUANTILES, device=flat.device))
    return {
        "mean": float(flat.mean()),
        "max": float(flat.max()),
        **{f"q{share:g}": float(value) for share, value in zip(_QUANTILES, quantiles, strict=True)},
    }
