"""Synaptic Intelligence: the path integral."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_tasks import method, take_step, toy_model, toy_task, values, whole

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy, Task


def one_weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def descend(model: nn.Linear, si: Strategy, steps: int) -> None:
    """SGD with rate 1/2 on theta^2 / 2, whose gradient is theta."""
    for _ in range(steps):
        model.weight.grad = model.weight.detach().clone()
        si.after_backward(model)
        with torch.no_grad():
            model.weight -= 0.5 * model.weight.grad
        si.after_step(model, 0.5, torch.empty(0))


def test_by_hand_on_a_quadratic() -> None:
    model, task = one_weight(4.0), Task(1, lambda: [])
    si = method("si", damping=1.0, normalise="none", strength=0)
    si.before_task(model, task)
    descend(model, si, 2)  # 4 -> 2 -> 1: 4 * 2 + 2 * 1 = 10 over (4 - 1)^2 + 1 = 10
    si.after_last_step(model)
    si.after_task(model, task)
    assert model.weight.item() == 1.0
    assert si.importance()["weight"].item() == 1.0
    si.before_task(model, task)  # a new path begins at 1: 1 * 1/2 over 1/4 + 1
    descend(model, si, 1)
    si.after_last_step(model)
    si.after_task(model, task)
    assert si.importance()["weight"].item() == pytest.approx(1.0 + 0.5 / 1.25)


def test_a_path_uphill_counts_nothing() -> None:
    model, task = nn.Linear(2, 1, bias=False), Task(1, lambda: [])
    si = method("si", damping=1.0, normalise="none")
    si.before_task(model, task)
    model.weight.grad = torch.tensor([[1.0, -1.0]])
    si.after_backward(model)
    with torch.no_grad():
        model.weight += 1  # against the gradient of the one, along that of the other
    si.after_step(model, 1.0, torch.empty(0))
    si.after_last_step(model)
    si.after_task(model, task)
    torch.testing.assert_close(si.importance()["weight"], torch.tensor([[0.0, 0.5]]))


def task_loss(model: nn.Module, task: Task) -> Tensor:
    x, _ = whole(task)
    loss: Tensor = model(x).sub(task.number).square().mean()
    return loss


def learn(model: nn.Module, strategy: Strategy, task: Task, steps: int, begun: bool = False) -> dict[str, Tensor]:
    """Learn as training does; return the sum of - gradient of the loss alone * movement of the weights."""
    if not begun:
        strategy.before_task(model, task)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    path = {name: torch.zeros_like(value) for name, value in values(model).items()}
    for _ in range(steps):
        before = values(model)
        alone = torch.autograd.grad(task_loss(model, task), list(model.parameters()))
        optimiser.zero_grad()
        task_loss(model, task).backward()
        strategy.after_backward(model)
        optimiser.step()
        strategy.after_step(model, 0.05, torch.empty(0))
        after = values(model)
        for (name, _), gradient in zip(model.named_parameters(), alone, strict=True):
            path[name] -= gradient * (after[name] - before[name])
    return path


@pytest.mark.parametrize(
    "settings",
    [{"application": "gradient"}, {"application": "proximal", "every": 1}, {"application": "proximal", "every": 3}],
)
def test_equals_a_plain_loop_with_adam_and_a_penalty(settings: dict[str, Any]) -> None:
    model, si = toy_model(), method("si", damping=0.01, strength=5.0, normalise="none", **settings)
    expected = {name: torch.zeros_like(value) for name, value in values(model).items()}
    for number in (1, 2):
        task, start = toy_task(number), values(model)
        path = learn(model, si, task, 6)
        si.after_last_step(model)
        end = values(model)
        for name, along in path.items():
            expected[name] += along.clamp(min=0) / ((end[name] - start[name]) ** 2 + 0.01)
        si.after_task(model, task)
        assert si.penalty(model) == 0
    for name, omega in expected.items():
        torch.testing.assert_close(si.importance()[name].double(), omega)


def test_the_penalty_in_the_gradient_is_no_part_of_the_path() -> None:
    model, task = toy_model(), toy_task()
    si = method("si", application="gradient", strength=1e6)
    learn(model, si, task, 3)
    si.after_last_step(model)
    si.after_task(model, task)
    si.before_task(model, task)
    weight = model.get_parameter("0.weight")
    with torch.no_grad():
        weight.add_(1.0)  # far from the anchor: the penalty's gradient is huge
    before = weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    si.after_backward(model)
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 1e3
    with torch.no_grad():
        weight.sub_(0.25)
    si.after_step(model, 0.1, torch.empty(0))
    torch.testing.assert_close(si.state_tensors()["path/0.weight"], before - weight.detach())


def test_goes_on_within_a_task_to_the_same_bits() -> None:
    model, si = toy_model(), method("si", every=2)
    learn(model, si, toy_task(1), 3)
    si.after_last_step(model)
    si.after_task(model, toy_task(1))
    learn(model, si, toy_task(2), 3)
    other, again = copy.deepcopy(model), method("si", every=2)
    again.load_state_tensors({name: value.clone() for name, value in si.state_tensors().items()})
    for net, strategy in ((model, si), (other, again)):
        learn(net, strategy, toy_task(2), 3, begun=True)
        strategy.after_last_step(net)
        strategy.after_task(net, toy_task(2))
    assert all(torch.equal(omega, again.importance()[name]) for name, omega in si.importance().items())
    assert si.state_tensors().keys() == again.state_tensors().keys()


def test_a_path_that_led_nowhere_is_told() -> None:
    model, task, si = toy_model(), toy_task(), method("si")
    si.before_task(model, task)
    si.after_last_step(model)
    with pytest.raises(UserError, match="is 0, so it cannot tell what to hold"):
        si.after_task(model, task)


def test_joined_with_averaging_the_distance_is_that_of_the_path() -> None:
    joined, alone = toy_model(), toy_model()
    both, si = method("averaging+si", normalise="none"), method("si", normalise="none")
    for net, strategy in ((joined, both), (alone, si)):
        learn(net, strategy, toy_task(1), 3)
        strategy.after_last_step(net)
        strategy.after_task(net, toy_task(1))
    state = both.state_tensors()
    for net, strategy in ((joined, both), (alone, si)):
        strategy.before_task(net, toy_task(2))
        take_step(net, strategy, 0.5, 1e-12, torch.empty(0))
        strategy.after_last_step(net)
        strategy.after_task(net, toy_task(2))
    for name, omega in si.importance().items():
        torch.testing.assert_close(both.importance()[name], omega)
        # what is held is the mean
        torch.testing.assert_close(both.state_tensors()[f"si/anchor/{name}"], state[f"si/anchor/{name}"] - 0.25)
