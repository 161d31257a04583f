"""Learning one stage: epochs, batches, the optimiser, the strategy's part in each step.

In several processes each embeds its share of a batch; the embeddings are gathered, so that the loss is that of the
whole batch, and the gradients of all shares are summed: the same step as in one process, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mas_triplets.config import RunConfig, TrainConfig
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy
from mas_triplets.model.augment import augmented
from mas_triplets.model.inputs import ItemInputs
from mas_triplets.model.losses import Loss
from mas_triplets.training.batch_norm import statistics_of
from mas_triplets.training.optimiser import Optimiser, learning_rate
from mas_triplets.training.processes import Processes
from mas_triplets.training.rehearsal import rows_of
from mas_triplets.training.stages import StageData
from mas_triplets.training.state import LEARNING, TrainingState, epoch_seed

_EXPLODED = 1000.0
"""A loss so many times that of a stage's first step (or 1, if that is more) will not come back."""
_CHECKED_EVERY = 10
"""Steps between looks at the loss on a GPU, each of which waits for it."""


@dataclass(frozen=True)
class Learner:
    """What learning a stage needs besides its data and where it stands.

    Attributes:
        config: of the run.
        loss: of a batch.
        inputs: of all items.
        processes: those that train together.
        vectors: (F, 3, D) language embeddings of all facts of the data set.
        mask: (F, 3) their masks.
        planned: steps of the whole run.
    """

    config: RunConfig
    loss: Loss
    inputs: ItemInputs
    processes: Processes
    vectors: Tensor
    mask: Tensor
    planned: int


def planned_steps(data: StageData, stage: int, strategy: Strategy, config: TrainConfig) -> int:
    """Return how many steps the optimiser takes in a stage (from 1)."""
    return config.epochs * data.steps_per_epoch(config) if strategy.takes_steps(stage) else 0


class StageFit:
    """Learns the rest of `state.stage` in place.

    Args:
        learner: loss, inputs, processes.
        data: what the stage learns from.
        state: where it stands, and whose model and strategy are changed.
    """

    def __init__(self, learner: Learner, data: StageData, state: TrainingState) -> None:
        self.learner, self.data, self.state = learner, data, state
        self.config, self.processes = learner.config.train, learner.processes
        self.device = learner.processes.device
        self.per_epoch = data.steps_per_epoch(self.config)
        self.total = planned_steps(data, state.stage, state.strategy, self.config)
        self._rows = rows_of(data, state.strategy.rehearsed(), learner.vectors, learner.mask)
        self._told = learner.config.lifelong.boundaries == "tasks"
        self._optimiser = Optimiser(state.model, self.config)
        if state.optimiser:
            self._optimiser.load_state_tensors(state.optimiser)
        self._joined: nn.Module = learner.processes.joined(state.model)
        self._waiting: list[tuple[Tensor, int]] = []  # losses not yet looked at
        self._checked_every = 1 if self.device.type == "cpu" else _CHECKED_EVERY

    def steps(self) -> Iterator[float]:
        """Take the steps that are left, yielding the learning rate after each.

        When it yields, the state is that of the finished step. After `capture` it may be written to disk; loaded again,
        it goes on to the same bits.

        Raises:
            UserError: the loss is no longer finite, or has exploded.
        """
        state, size = self.state, self.config.batch_size
        state.model.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while state.step < self.total:
                epoch, done = divmod(state.step, self.per_epoch)
                number = epoch_seed(self.learner.config.seed, state.stage, epoch)
                if done == 0:
                    torch.manual_seed(number + 7919 * self.processes.rank)
                    state.loss_sum, state.loss_count = 0.0, 0
                else:
                    self._restore_random()
                generator = np.random.default_rng(number)
                order = self._arranged(generator.permutation(len(self.data.items)))
                batches = [order[start : start + size] for start in range(0, len(order), size)]
                batches = [self._with_stored(rows, generator) for rows in batches][done:]
                for rows, (positions, batch) in zip(batches, self._shares(batches), strict=True):
                    rate = self._rate()
                    self._step(rows, self.processes.share(rows)[positions], batch, rate)
                    state.step += 1
                    state.steps += 1
                    yield rate
                self.check()
        # without boundaries the optimiser must not begin anew with a task
        state.optimiser = {} if self._told else self._optimiser.state_tensors()
        state.random = {}
        state.model.eval()

    def _rate(self) -> float:
        """Return the learning rate of the next step: it falls over the task, or over the run if no task is known."""
        if self._told:
            factor = self.state.strategy.rate_factor(self.state.stage)
            return factor * learning_rate(self.state.step, self.total, self.config)
        return learning_rate(self.state.steps, self.learner.planned, self.config)

    def _step(self, rows: IntArray, mine: IntArray, batch: Tensor, rate: float) -> None:
        """Take one step.

        Args:
            rows: (B,) the rows in the batch: see `Rows`.
            mine: (b,) those of them that this process embeds.
            batch: their inputs.
            rate: the learning rate.
        """
        state, processes, table = self.state, self.processes, self._rows
        if not batch.is_floating_point():
            batch = augmented(batch, self.config.augmentation)
        idle = len(mine) == 0
        if idle and processes.count == 1:
            return  # nothing of this batch can be read
        if idle:  # all processes must go forward and backward together
            batch = batch.new_zeros(1, *batch.shape[1:])
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half), statistics_of(state.model, batch):
            embedding: Tensor = self._joined(batch)
        unused = embedding[len(mine) :].sum() * 0
        embedding = embedding[: len(mine)]
        together = torch.cat(processes.gather(embedding))
        present = torch.cat(processes.gather(torch.from_numpy(mine).to(self.device))).cpu().numpy()
        if not len(present):
            return
        order = np.argsort(_place_in(rows, present))  # as in one process
        together = together[torch.from_numpy(order).to(self.device)] if processes.count > 1 else together
        value = self._loss(together, table.relevance(present[order]))
        total = value * processes.count + unused
        new = torch.from_numpy(mine < table.own).to(self.device)
        inputs = batch[: len(mine)][new]
        extra = state.strategy.extra_loss(state.model, inputs, embedding[new])
        if extra is not None:
            total = total + extra * (processes.count / max(1, int((present < table.own).sum())))
        self._optimiser.zero_grad()
        # the gradients are averaged over processes, and each has that of its own share only: what is wanted is the sum
        total.backward()
        state.strategy.after_backward(state.model)
        rates = self._optimiser.step(rate)
        state.strategy.after_step(state.model, rates, inputs)
        self._waiting.append((value.detach(), len(present)))
        if len(self._waiting) >= self._checked_every:
            self.check()

    def _loss(self, embedding: Tensor, relevance: Tensor) -> Tensor:
        vectors, mask = self._rows.vectors, self._rows.mask
        if not self._told:  # which facts a task has is not known: those at hand
            held = relevance.any(0)
            vectors, mask, relevance = vectors[held], mask[held], relevance[:, held]
        return self.learner.loss(embedding.view(len(embedding), 3, -1), vectors, mask, relevance)

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            UserError: one is not finite, or exploded.
        """
        state = self.state
        for value, count in self._waiting:
            loss = float(value)
            if state.first_loss is None:
                state.first_loss = loss
            if not math.isfinite(loss) or loss > _EXPLODED * max(1.0, state.first_loss):
                raise UserError(
                    f"the loss is {loss:g} at step {state.step + 1} of task {state.stage}, that of its first step was "
                    f"{state.first_loss:g}: lower train.learning_rate, or lifelong.strength if the penalty is applied "
                    "in the gradient"
                )
            state.loss_sum += loss * count
            state.loss_count += count
        self._waiting = []

    def capture(self) -> None:
        """Bring into the state what of it lives elsewhere: the optimiser's moments and the random states."""
        self.check()
        state = self.state
        state.phase = LEARNING
        state.optimiser = self._optimiser.state_tensors()
        generators = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.device)
        state.random = {
            name: torch.cat(self.processes.gather(value[None].to(self.device))).cpu()
            for name, value in generators.items()
        }

    def _arranged(self, order: IntArray) -> IntArray:
        """Return the order of rows in which reading their items is not wasteful."""
        items = self.data.items
        return np.searchsorted(items, self.learner.inputs.arranged(items[order]))

    def _shares(self, batches: Sequence[IntArray]) -> Iterator[tuple[IntArray, Tensor]]:
        """Yield this process's inputs of each batch."""
        shares = [self.processes.share(rows) for rows in batches]
        together = np.concatenate(shares) if shares else np.empty(0, dtype=np.int64)
        return self.learner.inputs.batches(self._rows.items[together], [len(share) for share in shares])

    def _with_stored(self, rows: IntArray, generator: np.random.Generator) -> IntArray:
        """Return the rows of a batch with those of stored pairs that go with them."""
        if len(self._rows.items) == self._rows.own:
            return rows
        share = self.learner.config.lifelong.memory.share
        return np.concatenate([rows, self._rows.drawn(max(1, round(share * len(rows))), generator)])

    def _restore_random(self) -> None:
        random, rank = self.state.random, self.processes.rank
        torch.set_rng_state(random["cpu"][rank].clone())  # a view of several rows is misread
        if "cuda" in random and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"][rank].clone(), self.device)


def _place_in(rows: IntArray, present: IntArray) -> IntArray:
    """Return the place in `rows` of each of `present`."""
    order = np.argsort(rows)
    return order[np.searchsorted(rows, present, sorter=order)]
