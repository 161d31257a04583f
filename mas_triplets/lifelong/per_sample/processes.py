"""Statistics over several processes, each of which saw its own samples.

Sums are combined before they are divided: the mean of |gradient| over all samples is the sum over processes of their
sums, divided by the number of all samples, and never the absolute value of a mean over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mas_triplets.errors import UserError

Combine = Callable[[Tensor], Tensor]
"""Returns the sum of a tensor over all processes (an all-reduce). Every process calls it as often, in one order."""


@dataclass
class Sums:
    """What the samples of a process add up to.

    Attributes:
        totals: sums of per-sample values by parameter name.
        samples: how many samples they are of.
        took_part: parameters that took part in the output.
    """

    totals: dict[str, Tensor]
    samples: int
    took_part: set[str]


def over_processes(sums: Sums, combine: Combine | None, errors: Sequence[UserError] = ()) -> Sums:
    """Return the sums over all processes, the same in each. A process without samples takes part with zeros.

    Args:
        sums: of this process.
        combine: see `Combine`; None for a single process.
        errors: what `deferred` kept.

    Raises:
        UserError: this process's error, or, in all others, that one had an error; no samples in any process.
    """
    if combine is not None:
        names = list(sums.totals)
        device = sums.totals[names[0]].device
        flags = [float(name in sums.took_part) for name in names]
        own = torch.tensor([sums.samples, len(errors), *flags], dtype=torch.float64, device=device)
        samples, failed, *took_part = combine(own).tolist()
        for error in errors:
            raise error
        if failed > 0:
            raise UserError("the statistics cannot be had: another process stopped with an error, see its output")
        sums.samples = round(samples)
        sums.took_part = {name for name, flag in zip(names, took_part, strict=True) if flag > 0}
    if sums.samples == 0:
        raise UserError("no samples: `batches` gave none, so there is no importance to estimate")
    if combine is not None:
        for name, total in sums.totals.items():  # one at a time: no second copy of everything
            sums.totals[name] = combine(total)
    return sums


@contextmanager
def deferred(combine: Combine | None) -> Iterator[list[UserError]]:
    """Keep a UserError for `over_processes` to raise, so that the other processes do not wait for this one in vain."""
    errors: list[UserError] = []
    try:
        yield errors
    except UserError as error:
        if combine is None:
            raise
        errors.append(error)
