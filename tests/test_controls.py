"""What becomes of an importance: its sum over tasks, scale, root and controls; and what MAS may measure."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from toy_tasks import DIM, method, toy_model, toy_task, whole

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Task
from mas_triplets.lifelong.omega import (
    accumulate,
    controlled,
    describe,
    divided_by_mean,
    divided_by_own_mean,
    mean_over_all,
    prepared,
)
from mas_triplets.lifelong.quadratic import QuadraticStrategy

CONTROLS = ("shuffled", "layer-mean", "uniform")


def config(**values: Any) -> LifelongConfig:
    return LifelongConfig.model_validate(values)


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
    assert joined("decay") == [3.75, 5]
    assert accumulate({}, new, LifelongConfig(), 0) == new


def test_division_by_the_mean_over_all_parameters() -> None:
    found = divided_by_mean({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[2.0]])})
    assert found["a"].tolist() == [0.5, 1.5]
    assert found["b"].tolist() == [[1.0]]


def test_description_by_hand() -> None:
    found = describe(torch.arange(101.0))
    assert found == pytest.approx({"mean": 50, "max": 100, "q0.1": 10, "q0.5": 50, "q0.9": 90, "q0.99": 99})


def test_controls_by_hand() -> None:
    omega = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[5.0]])}
    assert controlled(omega, "layer-mean", 0)["a"].tolist() == [2, 2]
    assert controlled(omega, "layer-mean", 0)["b"].tolist() == [[5]]
    assert {name: value.tolist() for name, value in controlled(omega, "uniform", 0).items()} == {
        "a": [3, 3],
        "b": [[3]],
    }
    assert controlled(omega, "none", 0) == omega


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(CONTROLS), st.integers(1, 40))
def test_a_control_has_the_same_total(seed: int, control: str, size: int) -> None:
    torch.manual_seed(seed)
    omega = {"a": torch.rand(size, 3).pow(4), "b": torch.rand(size)}
    found = controlled(omega, control, seed)
    assert mean_over_all(found) == pytest.approx(mean_over_all(omega), rel=1e-6)
    for name, value in omega.items():
        assert found[name].shape == value.shape
        if control == "shuffled":
            assert torch.equal(found[name].flatten().sort().values, value.flatten().sort().values)
        elif control == "layer-mean":
            assert float(found[name].mean()) == pytest.approx(float(value.mean()), rel=1e-5)
    if control == "uniform":
        assert len({float(number) for value in found.values() for number in value.flatten()}) == 1


def test_the_permutation_is_that_of_the_seed_and_the_tensor_in_every_task() -> None:
    places = {"a": torch.arange(50.0), "b": torch.arange(50.0)}
    first, again = controlled(places, "shuffled", 1), controlled(places, "shuffled", 1)
    assert all(torch.equal(first[name], again[name]) for name in places)
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(first["a"], controlled(places, "shuffled", 2)["a"])
    order = first["a"].long()
    assert torch.equal(controlled({"a": places["a"] * 7 + 1}, "shuffled", 1)["a"], (places["a"] * 7 + 1)[order])


@pytest.mark.parametrize("control", CONTROLS)
def test_the_sum_over_tasks_of_a_control_is_the_control_of_the_sum(control: str) -> None:
    model = toy_model()
    plain, other = method("mas", normalise="none"), method("mas", normalise="none", control=control)
    for number in (1, 2):
        for strategy in (plain, other):
            strategy.after_task(model, toy_task(number))
    for name, value in controlled(plain.importance(), control, 0).items():
        torch.testing.assert_close(other.importance()[name], value)


def test_uniform_is_l2_at_the_scale_of_the_importance() -> None:
    model, task = toy_model(), toy_task()
    uniform, l2 = method("mas", control="uniform"), method("l2")
    for strategy in (uniform, l2):
        strategy.after_task(model, task)
        strategy.after_task(model, task)
    for name, value in l2.importance().items():
        torch.testing.assert_close(uniform.importance()[name], value.float())


def test_a_layer_divided_by_its_own_mean_leaves_noise_and_nothing_at_zero() -> None:
    found = divided_by_own_mean({"a": torch.tensor([1.0, 3.0]), "b": torch.zeros(2), "c": torch.full((2,), 1e-9)})
    assert [value.tolist() for value in found.values()] == [[0.5, 1.5], [0, 0], [0, 0]]


def test_the_root_comes_before_the_scale() -> None:
    omega = {"a": torch.tensor([1.0, 9.0, 16.0, 0.0])}
    assert prepared(omega, config(root=True, normalise="none"), 0)["a"].tolist() == [1, 3, 4, 0]
    assert prepared(omega, config(root=True, normalise="mean"), 0)["a"].tolist() == [0.5, 1.5, 2, 0]


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
@pytest.mark.parametrize("normalise", ["none", "mean", "layer"])
def test_an_importance_of_nothing_or_not_finite_is_told(value: float, normalise: str) -> None:
    with pytest.raises(UserError, match="cannot tell what to hold"):
        prepared({"a": torch.tensor([0.0, value])}, config(normalise=normalise), 0)


def mas_measure(task: Task, **settings: Any) -> dict[str, Tensor]:
    mas = method("mas", **settings)
    assert isinstance(mas, QuadraticStrategy)
    return mas.measure(toy_model(), task)


def plain_measure(task: Task, output: str, weight: list[float]) -> dict[str, Tensor]:
    """Mean of weight * |d ||output||^2 / d theta|, picture by picture."""
    model, (x, relevance) = toy_model(), whole(task)
    names = [name for name, _ in model.named_parameters()]
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for number, (one, right) in enumerate(zip(x, relevance, strict=True)):
        slots = model(one[None]).view(3, DIM)
        norm = torch.zeros((), dtype=x.dtype)
        if output == "embedding":
            norm = slots.square().sum()
        elif output == "logits":  # the scores against the task's facts
            for vectors, mask in zip(task.vectors, task.mask, strict=True):
                cosines = [slots[k] @ vectors[k] / slots[k].norm() for k in range(3) if mask[k] > 0]
                norm = norm + torch.stack(cosines).mean().square()
        else:  # the slots that a fact of the picture has
            for k in range(3):
                if any(right[fact] > 0 and task.mask[fact, k] > 0 for fact in range(len(right))):
                    norm = norm + slots[k].square().sum()
        gradients = torch.autograd.grad(norm, list(model.parameters()))
        for name, gradient in zip(names, gradients, strict=True):
            total[name] += weight[number] * gradient.abs() / len(x)
    return total


def weights_of_pictures(task: Task) -> list[float]:
    """Every fact of the task counts alike: a picture's share of each of its facts, 1 on average."""
    _, relevance = whole(task)
    facts = [fact for fact in range(relevance.shape[1]) if relevance[:, fact].sum() > 0]
    share = [sum(float(row[fact] / relevance[:, fact].sum()) for fact in facts) / len(facts) for row in relevance]
    return [len(relevance) * one for one in share]


@pytest.mark.parametrize("output", ["embedding", "logits", "present"])
@pytest.mark.parametrize("balance", ["pictures", "facts"])
def test_outputs_and_balance_equal_a_plain_loop(output: str, balance: str) -> None:
    task = toy_task(pictures=9)
    weight = weights_of_pictures(task) if balance == "facts" else [1.0] * 9
    found = mas_measure(task, output=output, balance=balance)
    for name, expected in plain_measure(task, output, weight).items():
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-5, atol=1e-7)


def test_facts_that_no_picture_shows_do_not_change_the_mean_weight() -> None:
    task = toy_task()
    assert sum(weights_of_pictures(task)) / 7 == pytest.approx(1)
    labelled = [(x, torch.cat([relevance, torch.zeros(len(x), 2).double()], 1)) for x, relevance in task.labelled()]
    more = dataclasses.replace(
        task,
        labelled=lambda: labelled,
        vectors=torch.cat([task.vectors, task.vectors[:2]]),
        mask=torch.cat([task.mask, task.mask[:2]]),
        fact_ids=torch.arange(10, 16).numpy(),
    )
    found, expected = mas_measure(more, balance="facts"), mas_measure(task, balance="facts")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_present_by_hand() -> None:
    """F = (2, 3, 4) x with x = 1 and a fact of the subject alone: |d 4 / d w| = 4 for the subject, nothing else."""
    model = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0], [3.0], [4.0]]))
    x, mask = torch.ones(1, 1), torch.tensor([[1.0, 0, 0]])
    task = Task(1, lambda: [x], lambda: [(x, torch.ones(1, 1))], mask.unsqueeze(-1), mask)
    mas = method("mas", output="present")
    assert isinstance(mas, QuadraticStrategy)
    assert mas.measure(model, task)["weight"].tolist() == [[4.0], [0.0], [0.0]]
