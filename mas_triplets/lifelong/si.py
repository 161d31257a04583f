"""Synaptic Intelligence (Zenke, Poole and Ganguli, ICML 2017): importance from the path of learning."""

from __future__ import annotations

from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.quadratic import QuadraticStrategy, under
from mas_triplets.lifelong.strategy import LearningRates
from mas_triplets.lifelong.task import Task


class SynapticIntelligence(QuadraticStrategy):
    """Omega_p = max(0, omega_p) / ((theta_p - theta_p at the task's start)^2 + xi) (Eq. 3 to 5).

    omega_p sums -g_p dtheta_p over the steps of the task: g is the gradient of the loss without the penalty, dtheta all
    that the parameter moved from before the optimiser's step to after it, a proximal step included. xi is `damping`.
    theta is that of the last step, also where another method (`averaging+si`) then changes it.
    """

    name = "si"
    reads = (*QuadraticStrategy.reads, "damping")
    first_task_is_plain = False  # the path counts from the first step

    def __init__(self, config: LifelongConfig) -> None:
        super().__init__(config)
        self._path: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}
        self._end: dict[str, Tensor] = {}

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of importance, anchor, path and start, and of gradients and weights of one step."""
        return 3 * super().memory_bytes(model)

    def before_task(self, model: nn.Module, task: Task) -> None:
        """Begin a path."""
        del task
        self._start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        self._path = {name: value.new_zeros(value.shape) for name, value in self._start.items()}

    def after_backward(self, model: nn.Module) -> None:
        """Note gradients and weights of the step, then add the penalty's gradient."""
        self._before = {
            name: (p.grad.clone(), p.detach().clone())
            for name, p in model.named_parameters()
            if p.requires_grad and p.grad is not None
        }
        super().after_backward(model)

    def after_step(self, model: nn.Module, learning_rate: LearningRates, inputs: Tensor) -> None:
        """Take the proximal step, if it is due, then go on along the path."""
        super().after_step(model, learning_rate, inputs)
        parameters = dict(model.named_parameters())
        for name, (gradient, weight) in self._before.items():
            self._path[name].addcmul_(gradient, parameters[name].detach() - weight, value=-1)
        self._before = {}

    def after_last_step(self, model: nn.Module) -> None:
        """Take the proximal step that is owed, and note where the path ends."""
        super().after_last_step(model)
        self._end = {name: p.detach().clone() for name, p in model.named_parameters() if name in self._path}

    def measure(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        """Return the importance of the path that has ended."""
        del model, task
        end, self._end = self._end, {}
        return {
            name: self._path[name].clamp(min=0) / ((last - self._start[name]).square() + self.config.damping)
            for name, last in end.items()  # in the model's order, which what is read from disk is not in
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Return importance and anchor, path and start."""
        return {
            **super().state_tensors(),
            **{f"path/{name}": value for name, value in self._path.items()},
            **{f"start/{name}": value for name, value in self._start.items()},
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        super().load_state_tensors(tensors)
        self._path, self._start = under(tensors, "path/"), under(tensors, "start/")
