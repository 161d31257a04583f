"""Elastic Weight Consolidation: the exact diagonal of the empirical Fisher."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_tasks import DIM, in_threads, method, toy_model, toy_task, whole

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Task
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.model.losses import log_likelihood, make_loss


def one_weight() -> tuple[nn.Linear, Task]:
    """F_S = 2 x with x = 1 and 2, target 1: d/dw -1/2 (w x - 1)^2 = -1 and -6, so the Fisher is (1 + 36) / 2 = 18.5."""
    model = nn.Linear(1, 3, bias=False)
    nn.init.constant_(model.weight, 2.0)
    x, mask = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0, 0, 0]])
    task = Task(1, lambda: [x], lambda: [(x, torch.ones(2, 1))], mask.unsqueeze(-1), mask)
    return model, task


@pytest.mark.parametrize(
    ("settings", "once", "twice"),
    [
        ({}, 18.5, 37.0),
        ({"accumulate": "decay", "decay": 0.5}, 18.5, 27.75),
        ({"accumulate": "ema", "decay": 0.25}, 18.5, 18.5),
        ({"root": True}, math.sqrt(18.5), 2 * math.sqrt(18.5)),
        ({"normalise": "mean"}, 3.0, 6.0),
    ],
)
def test_by_hand(settings: dict[str, Any], once: float, twice: float) -> None:
    model, task = one_weight()
    ewc = method("ewc", **{"normalise": "none", **settings})
    for wanted in (once, twice):
        ewc.after_task(model, task)
        # the slots that the fact lacks weigh nothing
        torch.testing.assert_close(ewc.importance()["weight"], torch.tensor([[wanted], [0.0], [0.0]]))


def log_p(model: nn.Module, x: Tensor, right: Tensor, task: Task) -> Tensor:
    """log p of one picture's facts, from the definition and fact by fact."""
    slots = model(x[None]).view(3, DIM)
    facts = [number for number in range(len(right)) if right[number] > 0]
    if task.loss.name == "euclidean":
        total = torch.zeros((), dtype=x.dtype)
        for slot in range(3):
            with_slot = [task.vectors[fact, slot] for fact in facts if task.mask[fact, slot] > 0]
            if with_slot:
                total = total - 0.5 * (slots[slot] - torch.stack(with_slot).mean(0)).square().sum()
        return total
    scores = []
    for fact in range(len(right)):
        present = [slot for slot in range(3) if task.mask[fact, slot] > 0]
        cosines = [slots[slot] @ task.vectors[fact, slot] / slots[slot].norm() for slot in present]
        scores.append(torch.stack(cosines).mean() / task.loss.temperature)
    each = torch.stack(scores)
    return torch.stack([each[fact] - torch.logsumexp(each, 0) for fact in facts]).mean()


@pytest.mark.parametrize("loss", ["euclidean", "contrastive", "ranking"])
def test_the_fisher_equals_a_loop_over_samples(loss: str) -> None:
    model, task = toy_model(), toy_task(loss=loss)
    x, relevance = whole(task)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for one, right in zip(x, relevance, strict=True):
        gradients = torch.autograd.grad(log_p(model, one, right, task), list(model.parameters()))
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            expected[name] += gradient.square() / len(x)
    ewc = method("ewc")
    assert isinstance(ewc, QuadraticStrategy)
    found = ewc.measure(model, task)
    for name, fisher in expected.items():
        torch.testing.assert_close(found[name].double(), fisher, rtol=1e-5, atol=1e-7 * float(fisher.max()))


def test_the_likelihood_is_that_of_the_loss() -> None:
    """The euclidean loss of a batch is minus the mean log-likelihood: the Fisher is of what is learnt."""
    task = toy_task()
    x, relevance = whole(task)
    F = toy_model()(x).view(len(x), 3, DIM)
    arguments = (F, task.vectors, task.mask, relevance)
    torch.testing.assert_close(make_loss(task.loss)(*arguments), -log_likelihood(task.loss, *arguments).mean())


@pytest.mark.parametrize("most", [None, 3, 1])
def test_two_processes_measure_as_one(most: int | None) -> None:
    model, task = toy_model(), toy_task()
    x, relevance = whole(task)
    models = [copy.deepcopy(model) for _ in range(2)]

    def measured(rank: int, processes: int, combine: Any) -> dict[str, Tensor]:
        ewc = method("ewc", max_samples=most)
        assert isinstance(ewc, QuadraticStrategy)
        ewc.join(rank, processes, combine, 0)
        share = [(x[rank::processes], relevance[rank::processes])]
        return ewc.measure(models[rank], dataclasses.replace(task, labelled=lambda: share))

    alone = measured(0, 1, None)
    first, second = in_threads(2, lambda rank, combine: measured(rank, 2, combine))
    for name, _ in model.named_parameters():
        torch.testing.assert_close(first[name], alone[name])
        assert torch.equal(first[name], second[name])


def test_a_fisher_of_zero_is_told() -> None:
    model, task = one_weight()
    nn.init.constant_(model.weight, 0.0)
    task = dataclasses.replace(task, vectors=torch.zeros(1, 3, 1))  # nothing is left to learn
    with pytest.raises(UserError, match="mean importance measured after this task is 0"):
        method("ewc").after_task(model, task)
