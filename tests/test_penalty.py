"""The penalty, how importance is accumulated, and the strategies that use them."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong import STRATEGIES, QuadraticPenalty, Strategy, Task, make_strategy
from mas_triplets.lifelong.omega import accumulate, describe, divided_by_mean
from mas_triplets.lifelong.owed_rates import OwedRates
from mas_triplets.lifelong.quadratic import QuadraticStrategy

penalty_module: Any = importlib.import_module("mas_triplets.lifelong.penalty")


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()


def random_like(source: nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator, dtype=p.dtype) for n, p in source.named_parameters()}


def test_value_by_hand() -> None:
    one = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([[4.0, 3.0]]))
    penalty = QuadraticPenalty({"weight": torch.tensor([[1.0, 2.0]])}, {"weight": torch.tensor([[1.0, 2.0]])}, 0.5)
    assert penalty.value(one) == 5.5


def test_the_gradient_is_two_lambda_omega_theta_minus_anchor() -> None:
    net = model()
    importance, anchor = random_like(net, 1), random_like(net, 2)
    penalty = QuadraticPenalty(importance, anchor, 0.7)
    net(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    before = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    penalty.add_gradient(net)
    for name, p in net.named_parameters():
        assert p.grad is not None
        expected = before[name] + 2 * 0.7 * importance[name] * (p.detach() - anchor[name])
        torch.testing.assert_close(p.grad, expected)


def test_the_gradient_equals_that_of_the_penalty_as_a_sum_in_the_loss() -> None:
    net = model()
    importance, anchor = random_like(net, 1), random_like(net, 2)
    terms = [(importance[n] * (p - anchor[n]).square()).sum() for n, p in net.named_parameters()]
    (0.3 * torch.stack(terms).sum()).backward()
    expected = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad(set_to_none=True)
    QuadraticPenalty(importance, anchor, 0.3).add_gradient(net)  # also where there is no gradient yet
    for p, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_the_proximal_step_is_the_minimum_it_stands_for() -> None:
    net = model()
    importance, anchor = random_like(net, 1), random_like(net, 2)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    rate, strength = 0.1, 4.0
    QuadraticPenalty(importance, anchor, strength).proximal_step(net, rate)
    for name, p in net.named_parameters():
        s = 2 * rate * strength * importance[name]
        torch.testing.assert_close(p.detach(), (start[name] + s * anchor[name]) / (1 + s))
        # the minimum of |theta - start|^2 / (2 lr) + lambda Omega (theta - anchor)^2 has no gradient
        slope = (p.detach() - start[name]) / rate + 2 * strength * importance[name] * (p.detach() - anchor[name])
        torch.testing.assert_close(slope, torch.zeros_like(slope))


def test_however_strong_a_proximal_step_ends_at_the_anchor() -> None:
    net = model()
    importance, anchor = random_like(net, 1), random_like(net, 2)
    QuadraticPenalty(importance, anchor, 1e12).proximal_step(net, 1.0)
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), anchor[name])


def test_however_strong_no_value_is_lost() -> None:
    net = nn.Linear(2, 2)
    importance = {"weight": torch.tensor([[0.0, 1e38], [1e-38, 1.0]]), "bias": torch.zeros(2)}
    anchor = {name: p.detach() + 1 for name, p in net.named_parameters()}
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    QuadraticPenalty(importance, anchor, 1e10).proximal_step(net, 1.0)  # 2 lr lambda Omega is infinite for one
    assert torch.equal(net.bias, start["bias"])
    assert net.weight[0, 0] == start["weight"][0, 0]
    assert net.weight[0, 1] == anchor["weight"][0, 1]
    assert net.weight[1, 0] == start["weight"][1, 0]
    torch.testing.assert_close(net.weight[1, 1], anchor["weight"][1, 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_a_proximal_step_never_goes_beyond_the_anchor(seed: int, strength: float) -> None:
    torch.manual_seed(seed)
    net = nn.Linear(7, 5)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    anchor = {name: value + torch.randn(value.shape) * 10.0 ** (-8 * torch.rand(())) for name, value in start.items()}
    importance = {name: torch.rand(value.shape).pow(8) for name, value in start.items()}
    QuadraticPenalty(importance, anchor, strength).proximal_step(net, 0.01)
    for name, p in net.named_parameters():
        low, high = torch.minimum(start[name], anchor[name]), torch.maximum(start[name], anchor[name])
        assert bool(((p >= low) & (p <= high)).all())


def in_pieces(net: nn.Module) -> Callable[[], None]:
    """Add the gradient and take a proximal step; return a check of both against one formula a parameter."""
    importance, anchor = random_like(net, 1), random_like(net, 2)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    penalty = QuadraticPenalty(importance, anchor, 0.7)
    penalty.add_gradient(net)
    penalty.proximal_step(net, 0.1)

    def check() -> None:
        for name, p in net.named_parameters():
            s = 2 * 0.1 * 0.7 * importance[name]
            torch.testing.assert_close(p.grad, 1 + 2 * 0.7 * importance[name] * (start[name] - anchor[name]))
            torch.testing.assert_close(p.detach(), start[name].lerp(anchor[name], s / (1 + s)))

    return check


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalty_module, "_PIECE", 50)
    torch.manual_seed(0)
    in_pieces(nn.Sequential(nn.Linear(17, 9), nn.Conv2d(3, 8, 3)))()
    in_pieces(nn.Sequential(nn.Linear(17, 9), nn.Conv2d(3, 8, 3)).double())()
    last = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    assert not last.weight.is_contiguous()
    in_pieces(last)()


def test_frozen_parameters_are_left_alone() -> None:
    net = model()
    penalty = QuadraticPenalty(random_like(net, 1), random_like(net, 2), 3.0)
    frozen = net[0].requires_grad_(False)  # type: ignore[index]
    before = copy.deepcopy(net.state_dict())
    penalty.add_gradient(net)
    penalty.proximal_step(net, {"2.weight": 0.1, "2.bias": 0.1})
    assert all(p.grad is None for p in frozen.parameters())
    changed = {name for name, value in net.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {"2.weight", "2.bias"}


def test_a_learning_rate_a_parameter() -> None:
    rates = {"0.weight": 0.1, "0.bias": 0.2, "2.weight": 0.0, "2.bias": 0.4}
    nets = [model(), *(model() for _ in rates)]
    importance, anchor = random_like(nets[0], 1), random_like(nets[0], 2)
    penalty = QuadraticPenalty(importance, anchor, 0.7)
    penalty.proximal_step(nets[0], rates)
    for net, (name, rate) in zip(nets[1:], rates.items(), strict=True):
        penalty.proximal_step(net, rate)
        assert torch.equal(nets[0].get_parameter(name), net.get_parameter(name))


def test_parameters_that_were_replaced_are_found() -> None:
    net = model()
    penalty = QuadraticPenalty(random_like(net, 1), random_like(net, 2), 1.0)
    penalty.add_gradient(net)
    old = net[0].bias  # type: ignore[index]
    net[0].bias = nn.Parameter(torch.zeros_like(old))  # type: ignore[index]
    other = model()
    for target in (net, other):
        target.zero_grad()
        penalty.add_gradient(target)
        assert all(p.grad is not None for p in target.parameters())
    assert old.grad is not None
    before = old.grad.clone()
    penalty.add_gradient(net)
    assert torch.equal(old.grad, before)


def test_memory_of_the_methods() -> None:
    net = model()
    net[2].requires_grad_(False)  # type: ignore[index]
    names = [name for name in STRATEGIES if name != "analytic"]  # which needs a model with heads
    kept = {name: make_strategy(LifelongConfig(strategy=name)).memory_bytes(net) for name in names}
    both = 2 * 4 * 16  # importance and anchor
    assert kept == {
        **dict.fromkeys(("finetune", "zero-shot", "frozen", "joint", "replay"), 0),
        **dict.fromkeys(("l2", "mas", "online-mas", "ewc"), both),
        "si": 3 * both,
        "lwf": 8 * 26,  # the whole model, in float64 here
        "averaging": 4 * 16,
    }
    assert make_strategy(LifelongConfig(strategy="mas+lwf")).memory_bytes(net) == both + 8 * 26


def test_zero_shot_learns_nothing() -> None:
    assert [name for name, kind in STRATEGIES.items() if kind.closed_form] == ["zero-shot", "analytic"]
    assert make_strategy(LifelongConfig(strategy="zero-shot")).after_task(model(), Task(1, lambda: [])) == {}


def test_strength_zero_does_nothing_at_all() -> None:
    net = model()
    before = copy.deepcopy(net.state_dict())
    penalty = QuadraticPenalty(random_like(net, 1), random_like(net, 2), 0.0)
    penalty.add_gradient(net)
    penalty.proximal_step(net, 0.1)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_what_does_not_fit_is_a_bug() -> None:
    omega = {"weight": torch.ones(1, 2)}
    with pytest.raises(ValueError, match="differ in"):
        QuadraticPenalty(omega, {}, 1.0)
    with pytest.raises(ValueError, match="shape"):
        QuadraticPenalty(omega, {"weight": torch.ones(2, 1)}, 1.0)
    with pytest.raises(ValueError, match="negative"):
        QuadraticPenalty(omega, omega, -1.0)
    with pytest.raises(ValueError, match="lacks"):
        QuadraticPenalty({"other": torch.ones(1)}, {"other": torch.ones(1)}, 1.0).value(nn.Linear(1, 1))


def test_importance_over_tasks_by_hand() -> None:
    before, new = {"a": torch.tensor([1.0, 4.0])}, {"a": torch.tensor([3.0, 2.0])}

    def joined(rule: str, tasks: int = 1, decay: float = 0.75) -> list[float]:
        config = LifelongConfig.model_validate({"accumulate": rule, "decay": decay})
        found: list[float] = accumulate(before, new, config, tasks)["a"].tolist()
        return found

    assert joined("sum") == [4, 6]
    assert joined("mean") == [2, 3]
    assert joined("mean", tasks=3) == [1.5, 3.5]
    assert joined("ema") == [1.5, 3.5]
    assert joined("max") == [3, 4]
    assert accumulate({}, new, LifelongConfig(), 0) == new


def test_division_by_the_mean_over_all_parameters() -> None:
    found = divided_by_mean({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[2.0]])})
    assert found["a"].tolist() == [0.5, 1.5]
    assert found["b"].tolist() == [[1.0]]


def test_description_by_hand() -> None:
    found = describe(torch.arange(101.0))
    assert found == pytest.approx({"mean": 50, "max": 100, "q0.1": 10, "q0.5": 50, "q0.9": 90, "q0.99": 99})


@pytest.mark.parametrize("strategy", ["l2", "mas"])
def test_the_state_of_a_strategy_survives(strategy: str) -> None:
    config = LifelongConfig(strategy=strategy, strength=2.0)
    net, x = model(), torch.randn(6, 3, dtype=torch.float64)
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
    net, x = model(), torch.randn(6, 3, dtype=torch.float64)
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
    net = model()
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
    before = net[0].weight.detach().clone()  # type: ignore[index]
    strategy.after_last_step(net)
    resumed.after_last_step(other)
    s = 2 * 0.1 * 2.0
    torch.testing.assert_close(net[0].weight.detach(), before - s / (1 + s))  # type: ignore[index]
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))


def test_an_unknown_strategy_is_told() -> None:
    with pytest.raises(UserError, match=r"unknown lifelong.strategy 'mass': did you mean 'mas'"):
        make_strategy(LifelongConfig(strategy="mass"))
