"""Methods that hold weights: how their state survives, and when a proximal step is taken."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_tasks import toy_model

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong import Strategy, Task, make_strategy
from mas_triplets.lifelong.owed_rates import OwedRates
from mas_triplets.lifelong.quadratic import QuadraticStrategy


@pytest.mark.parametrize("strategy", ["l2", "mas"])
def test_the_state_of_a_strategy_survives(strategy: str) -> None:
    config = LifelongConfig(strategy=strategy, strength=2.0)
    net, x = toy_model(inputs=3), torch.randn(6, 3, dtype=torch.float64)
    first = make_strategy(config)
    for _ in range(2):
        first.after_task(net, Task(1, lambda: [x]))
    second = make_strategy(config)
    second.load_state_tensors(first.state_tensors())
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    assert first.penalty(net) == second.penalty(net) > 0
    first.after_task(net, Task(1, lambda: [x]))
    second.after_task(net, Task(1, lambda: [x]))
    assert all(torch.equal(omega, second.importance()[name]) for name, omega in first.importance().items())


def test_l2_counts_tasks_and_mas_has_mean_one_each() -> None:
    net, x = toy_model(inputs=3), torch.randn(6, 3, dtype=torch.float64)
    for name in ("l2", "mas"):
        strategy = make_strategy(LifelongConfig(strategy=name))
        assert isinstance(strategy, QuadraticStrategy)
        for tasks in (1, 2, 3):
            strategy.after_task(net, Task(1, lambda: [x]))
            values = torch.cat([omega.flatten() for omega in strategy.importance().values()])
            assert values.mean().item() == pytest.approx(tasks)
            assert (values.std().item() < 1e-12) == (name == "l2")


def test_owed_rates_by_hand() -> None:
    owed = OwedRates()
    assert owed.state_tensors() == {}
    owed.add(0.25)
    owed.add(0.5)
    again = OwedRates()
    again.load_state_tensors(owed.state_tensors())
    assert (again.steps, again.take(), again.steps) == (2, 0.75, 0)
    owed.take()
    owed.add({"a": 0.1, "b": 0.2})
    owed.add({"a": 0.1, "b": 0.3})
    again.load_state_tensors(owed.state_tensors())
    assert again.take() == owed.take() == {"a": 0.2, "b": 0.5}


def anchored(every: int) -> tuple[nn.Module, Strategy]:
    """A model away from the anchor of an l2 strategy."""
    net = toy_model(inputs=3)
    strategy = make_strategy(LifelongConfig(strategy="l2", strength=2.0, every=every))
    strategy.after_task(net, Task(1, lambda: []))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    return net, strategy


def test_a_proximal_step_for_several_has_the_sum_of_their_rates() -> None:
    net, strategy = anchored(every=3)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    for rate in (0.1, 0.2):
        strategy.after_step(net, rate, torch.empty(0))
    assert all(torch.equal(start[name], p) for name, p in net.named_parameters())
    strategy.after_step(net, 0.3, torch.empty(0))
    s = 2 * 0.6 * 2.0
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), (start[name] + s * (start[name] - 1)) / (1 + s))


def test_what_is_owed_is_taken_at_the_end_of_a_task_also_when_resumed() -> None:
    net, strategy = anchored(every=5)
    strategy.after_step(net, 0.1, torch.empty(0))
    other, resumed = copy.deepcopy(net), make_strategy(strategy.config)
    resumed.load_state_tensors(strategy.state_tensors())
    before = net.get_parameter("0.weight").detach().clone()
    strategy.after_last_step(net)
    resumed.after_last_step(other)
    s = 2 * 0.1 * 2.0
    torch.testing.assert_close(net.get_parameter("0.weight").detach(), before - s / (1 + s))
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))
