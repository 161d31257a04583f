"""The penalty: its value, its gradient and its proximal step."""

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

from mas_triplets.lifelong import QuadraticPenalty

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
