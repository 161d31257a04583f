"""The learning rates of optimiser steps for which the penalty's proximal step is still to be taken.

The proximal step of k optimiser steps is taken at once, after the last of them, with the sum of their rates: splitting
the loss from the penalty with a coarser step for the cheap, smooth part. It then costs a k-th. Regularising every k
steps is known as lazy regularisation (Karras et al., CVPR 2020, section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mas_triplets.lifelong.strategy import LearningRates

_ALL = "*"  # one rate for all parameters; no parameter has this name


class OwedRates:
    """Sums of learning rates since the last proximal step.

    Attributes:
        steps: how many optimiser steps they are of.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._sums: dict[str, float] = {}

    def add(self, learning_rate: LearningRates) -> None:
        """Add the rate, or rates by parameter name, of the step just taken."""
        rates = {_ALL: learning_rate} if isinstance(learning_rate, float | int) else learning_rate
        for name, rate in rates.items():
            self._sums[name] = self._sums.get(name, 0.0) + rate
        self.steps += 1

    def take(self) -> LearningRates:
        """Return the sums, one for all or one by parameter name, and owe nothing any more.

        Example: after `add(0.25)` and `add(0.5)` it is 0.75.
        """
        sums = self._sums
        self.steps, self._sums = 0, {}
        return sums.get(_ALL, sums)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the sums and their count; nothing where nothing is owed."""
        if not self.steps:
            return {}
        names = sorted(self._sums)
        sums = torch.tensor([self._sums[name] for name in names], dtype=torch.float64)
        return {"steps": torch.tensor(self.steps), **{f"sum/{name}": sums[row] for row, name in enumerate(names)}}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self.steps = int(tensors["steps"]) if tensors else 0
        self._sums = {
            name.removeprefix("sum/"): float(value) for name, value in tensors.items() if name.startswith("sum/")
        }
