"""Merging by importance: by hand, against the objective it minimises, and its control."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_tasks import method, toy_model, toy_task

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Task, estimate_importance
from mas_triplets.lifelong.merging import share_of_new


def moved(model: nn.Module, seed: int) -> None:
    """Stand for learning: move every weight somewhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.3)


def test_one_weight_by_hand() -> None:
    """F = w x: the gradient of F^2 is 2 w x^2, so Omega is 2 |w| mean(x^2)."""
    model, merging = nn.Linear(1, 1, bias=False), method("merging", strength=0.5, normalise="none")
    tasks = [Task(number, lambda x=x: [torch.tensor([[x]])]) for number, x in ((1, 1.0), (2, 2.0), (3, 1.0))]  # type: ignore[misc]
    nn.init.constant_(model.weight, 3.0)
    merging.after_task(model, tasks[0])
    assert model.weight.item() == 3.0  # Omega 2 * 3 * 1 = 6
    nn.init.constant_(model.weight, 1.0)
    merging.after_task(model, tasks[1])  # Omega 2 * 1 * 4 = 8; the mean is (0.5 * 6 * 3 + 8 * 1) / (3 + 8)
    second = (0.5 * 6 * 3 + 8 * 1) / 11
    assert model.weight.item() == pytest.approx(second)
    nn.init.constant_(model.weight, 2.0)
    merging.after_task(model, tasks[2])  # Omega 4 against 6 + 8 of the past
    assert model.weight.item() == pytest.approx((0.5 * 14 * second + 4 * 2.0) / 11)
    assert merging.importance()["weight"].item() == pytest.approx(18)


def test_it_is_the_minimum_of_both_penalties() -> None:
    model, merging = toy_model(), method("merging", strength=1.7, normalise="none")
    tasks = [toy_task(1), toy_task(2)]
    omega, learnt = [], []
    for number, task in enumerate(tasks):
        if number:
            moved(model, number)
        omega.append(estimate_importance(model, task.inputs()))
        learnt.append({name: p.detach().clone() for name, p in model.named_parameters()})
        merging.after_task(model, task)
    for name, p in model.named_parameters():
        slope = 1.7 * omega[0][name] * (p.detach() - learnt[0][name]) + omega[1][name] * (p.detach() - learnt[1][name])
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-7, rtol=0)


def test_its_uniform_control_is_the_average_over_tasks() -> None:
    one, other = toy_model(), toy_model()
    merging, averaging = method("merging", control="uniform", normalise="mean"), method("averaging")
    for number in (1, 2, 3):
        for model, strategy in ((one, merging), (other, averaging)):
            moved(model, number)
            strategy.after_task(model, toy_task(number))
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_its_state_survives() -> None:
    model, merging = toy_model(), method("merging")
    merging.after_task(model, toy_task(1))
    other, again = copy.deepcopy(model), method("merging")
    again.load_state_tensors({name: value.clone() for name, value in merging.state_tensors().items()})
    for net, strategy in ((model, merging), (other, again)):
        moved(net, 5)
        strategy.after_task(net, toy_task(2))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    assert merging.memory_bytes(model) >= sum(value.nbytes for value in merging.importance().values())


def test_shares_by_hand() -> None:
    found = share_of_new(torch.tensor([3.0, 3.0, 0.0, 5.0]), torch.tensor([1.0, 0.0, 0.0, 5.0]), 1.0)
    assert found.tolist() == [0.25, 0.0, 1.0, 0.5]
    assert share_of_new(torch.tensor(3.0), torch.tensor(1.0), 1 / 3).item() == pytest.approx(0.5)


def test_weights_are_not_averaged_twice() -> None:
    with pytest.raises(UserError, match="would average the weights twice"):
        method("averaging+merging")
