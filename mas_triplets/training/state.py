"""All that must survive when training stops: one object, written and read in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.checkpoints import Checkpoints, all_finite

LEARNING, LEARNT, DONE = 0, 1, 2
"""Phases of a stage: within its steps; all steps taken, importance not yet measured; finished, and on disk."""


@dataclass
class TrainingState:
    """Where training stands.

    Attributes:
        model: weights as they are.
        strategy: importance, anchor and whatever else the method keeps.
        stage: the stage being learnt, or finished, from 1; 0 before the first.
        phase: LEARNING, LEARNT or DONE.
        step: finished steps of the stage.
        steps: finished steps of the whole run.
        first_loss: loss of the stage's first step.
        loss_sum: sum of the losses of the epoch so far, each times its pictures.
        loss_count: pictures of the epoch so far.
        log_bytes: length of log.jsonl.
        unreadable: pictures found unreadable so far, number -> why.
        optimiser: its tensors within a stage; empty elsewhere.
        random: states of the random generators, one row a process; empty but in the middle of an epoch.
    """

    model: TripletModel
    strategy: Strategy
    stage: int = 0
    phase: int = DONE
    step: int = 0
    steps: int = 0
    first_loss: float | None = None
    loss_sum: float = 0.0
    loss_count: int = 0
    log_bytes: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    optimiser: dict[str, Tensor] = field(default_factory=dict)
    random: dict[str, Tensor] = field(default_factory=dict)

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint.

        Raises:
            UserError: a weight is not finite (nothing is written, the checkpoint before is the last good one), or the
                disk is full.
        """
        tensors = {f"model/{name}": value for name, value in self.model.own_tensors().items()}
        if not all_finite(tensors) or not all_finite(self.optimiser):
            raise UserError(
                f"weights are no longer finite after step {self.step} of task {self.stage}: lower train.learning_rate"
            )
        for prefix, more in (
            ("strategy", self.strategy.state_tensors()),
            ("optimiser", self.optimiser),
            ("random", self.random),
        ):
            tensors |= {f"{prefix}/{name}": value for name, value in more.items()}
        checkpoints.save((self.stage, self.step, self.phase), self._numbers(), tensors)

    def load(self, checkpoints: Checkpoints) -> str | None:
        """Take back what the newest whole checkpoint holds; return a sentence if newer ones are damaged.

        Raises:
            UserError: none is whole, or it does not fit the model.
        """
        device = next(self.model.parameters()).device
        found = checkpoints.newest(str(device))
        if found is None:
            return None
        record, tensors, damaged = found
        if record.keys() != {*self._numbers(), "sha256"}:
            raise UserError(f"{checkpoints.folder} is of another version: start the run again with --resume never")

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        try:
            self.model.load_own_tensors(under("model/"))
        except ValueError as error:
            raise UserError(
                f"the checkpoint in {checkpoints.folder} does not fit the model ({error}): start the run again with "
                "--resume never"
            ) from None
        self.strategy.load_state_tensors(under("strategy/"))
        self.optimiser = under("optimiser/")
        self.random = {name: value.cpu() for name, value in under("random/").items()}
        for name in self._numbers():
            setattr(self, name, record[name])
        if damaged:
            return f"{damaged[0]} is damaged: going on from the checkpoint before it"
        return None

    def _numbers(self) -> dict[str, Any]:
        """Return the plain values, each under the name of its attribute."""
        names = ("stage", "phase", "step", "steps", "first_loss", "loss_sum", "loss_count", "log_bytes", "unreadable")
        return {name: getattr(self, name) for name in names}


def epoch_seed(seed: int, stage: int, epoch: int) -> int:
    """Return the seed of one epoch's dropout, augmentation and order, from (seed, stage, epoch) alone."""
    generator = torch.Generator().manual_seed((seed * 1009 + stage) * 100_003 + epoch)
    return int(torch.randint(2**31, (1,), generator=generator))
