"""What a method of lifelong learning may do, and when. A method overrides what it needs; `finetune` needs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.task import IntArray, Task

LearningRates = float | Mapping[str, float]
"""One learning rate, or one by parameter name."""


class Strategy:
    """Base of all methods, and by itself plain finetuning: each task is learnt and nothing is done against forgetting.

    Attributes:
        name: what a configuration calls it.
        merges_tasks: whether all tasks are learnt at once.
        tuned: the keys of the configuration that decide how much it learns and how much it keeps, each with values
            worth trying when they are chosen on validation pictures.
        reads: the keys of `lifelong` that mean anything to it.
        closed_form: whether it takes no steps of an optimiser of its own.
        settles: whether it changes the weights when a task ends: it then goes before those that hold on to them.
        first_task_is_plain: whether nothing of it acts before its first task has ended, so that this task is learnt
            just as by finetune.
        needs_boundaries: whether it must be told when a task begins and ends.
        rank: number of this process among `processes` that train together; it sees samples rank::processes.
        processes: how many there are.
        combine: sums a tensor over all of them; None for a single one.
        seed: of the run, for what it draws at random.
    """

    name: ClassVar[str] = "finetune"
    merges_tasks: ClassVar[bool] = False
    tuned: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    reads: ClassVar[tuple[str, ...]] = ()
    closed_form: ClassVar[bool] = False
    settles: ClassVar[bool] = False
    first_task_is_plain: ClassVar[bool] = True
    needs_boundaries: ClassVar[bool] = False

    def __init__(self, config: LifelongConfig) -> None:
        self.config = config
        self.rank = 0
        self.processes = 1
        self.combine: Callable[[Tensor], Tensor] | None = None
        self.seed = 0

    def join(self, rank: int, processes: int, combine: Callable[[Tensor], Tensor] | None, seed: int) -> None:
        """Tell which of several processes this is, and the seed of the run."""
        self.rank, self.processes, self.combine, self.seed = rank, processes, combine, seed

    def takes_steps(self, task: int) -> bool:
        """Return whether the optimiser takes steps in this task (numbers from 1)."""
        del task
        return not self.closed_form

    def rate_factor(self, task: int) -> float:
        """Return what the learning rate is multiplied with in this task (numbers from 1)."""
        del task
        return 1.0

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the bytes that the method keeps on its own account while it trains this model."""
        del model
        return 0

    def before_task(self, model: nn.Module, task: Task) -> None:
        """Called before the first step of a task; not again when training goes on within it."""

    def extra_loss(self, model: nn.Module, inputs: Tensor, embedding: Tensor) -> Tensor | None:
        """Return what is added to a batch's loss: a scalar, summed over these pictures and not divided by their number.

        Args:
            model: in training mode.
            inputs: (n, ...) what it was fed.
            embedding: (n, 3D) what it gave.
        """
        del model, inputs, embedding
        return None

    def rehearsed(self) -> tuple[IntArray, IntArray] | None:
        """Return the stored pairs that are mixed into each batch, items (m,) and fact_ids (m,); None without any."""
        return None

    def after_backward(self, model: nn.Module) -> None:
        """Called between the backward pass and the optimiser's step: gradients may be changed in place."""

    def after_step(self, model: nn.Module, learning_rate: LearningRates, inputs: Tensor) -> None:
        """Called after the optimiser's step: parameters may be changed in place.

        Args:
            model: in training mode.
            learning_rate: of the step just taken.
            inputs: (n, ...) the new pictures of the step in this process, maybe none.
        """

    def after_last_step(self, model: nn.Module) -> None:
        """Called when the last step of a task is taken, before any method looks at what was learnt.

        Where no task is known (`boundaries: none`), that is the last step of the run.
        """

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Called when a task is learnt, with the model in eval mode; returns plain values worth logging."""
        del model, task
        return {}

    def penalty(self, model: nn.Module) -> float:
        """Return the present penalty, for the log."""
        del model
        return 0.0

    def importance(self) -> dict[str, Tensor]:
        """Return the accumulated importance by parameter name; empty for methods that have none."""
        return {}

    def fact_vectors(self) -> dict[str, Tensor]:
        """Return vectors of facts that stand for their language embeddings; empty where those are used."""
        return {}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that must survive when training stops; `load_state_tensors` takes it back."""
        return {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        if tensors:
            raise ValueError(f"{self.name} has no state, but was given {sorted(tensors)}")


class Joint(Strategy):
    """All tasks at once: the upper bound, since it needs every picture at every time."""

    name = "joint"
    merges_tasks = True
    first_task_is_plain = False


class Frozen(Strategy):
    """The first task is learnt and nothing after it: no forgetting, and no learning."""

    name = "frozen"
    needs_boundaries = True

    def takes_steps(self, task: int) -> bool:
        """Return whether it is the first."""
        return task == 1


def share_of(count: int | None, rank: int, processes: int) -> int | None:
    """Return how many of the first `count` samples are among the samples rank::processes; None (all) stays None.

    Example: of 5 samples in 3 processes rank 0 has 0 and 3, rank 1 has 1 and 4, rank 2 has 2 alone: 2, 2, 1.
    """
    return None if count is None else (count - rank + processes - 1) // processes
