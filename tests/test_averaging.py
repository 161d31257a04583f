"""Weight averaging: the mean over tasks of what each was learnt to."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lifelong_runs import config_of, weights
from small_run import small_data
from torch import nn
from toy_tasks import method

from mas_triplets.lifelong import Task
from mas_triplets.lifelong.averaging import WeightAveraging
from mas_triplets.training.run import train


def learn_to(model: nn.Linear, value: float) -> None:
    nn.init.constant_(model.weight, value)


def test_three_tasks_by_hand() -> None:
    model, averaging = nn.Linear(1, 1, bias=False), method("averaging")
    for number, (learnt, mean) in enumerate(((1.0, 1.0), (4.0, 2.5), (10.0, 5.0)), 1):
        learn_to(model, learnt)
        averaging.after_task(model, Task(number, lambda: []))
        torch.testing.assert_close(model.weight.item(), mean)


def test_state_survives_and_goes_on_alike() -> None:
    model, averaging = nn.Linear(1, 1, bias=False), method("averaging")
    for number, learnt in ((1, 1.0), (2, 4.0)):
        learn_to(model, learnt)
        averaging.after_task(model, Task(number, lambda: []))
    again, other = method("averaging"), copy.deepcopy(model)
    again.load_state_tensors({name: value.clone() for name, value in averaging.state_tensors().items()})
    for net, strategy in ((model, averaging), (other, again)):
        learn_to(net, 10.0)
        strategy.after_task(net, Task(3, lambda: []))
    assert torch.equal(model.weight, other.weight)
    assert averaging.memory_bytes(model) == sum(value.nbytes for value in averaging.state_tensors().values())


def test_running_statistics_are_averaged_and_frozen_weights_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    averaging, frozen = method("averaging"), model.get_parameter("0.weight").detach().clone()
    for number, learnt in ((1, 2.0), (2, 4.0)):
        model.get_buffer("1.running_mean").fill_(learnt)
        model.get_buffer("1.num_batches_tracked").fill_(number)
        averaging.after_task(model, Task(number, lambda: []))
    assert model.get_buffer("1.running_mean").tolist() == [3.0, 3.0]
    assert model.get_buffer("1.num_batches_tracked").item() == 2
    assert torch.equal(model.get_parameter("0.weight"), frozen)


def test_a_run_ends_at_the_mean_of_what_was_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data(tmp_path)
    learnt: list[dict[str, torch.Tensor]] = []
    after = WeightAveraging.after_task

    def afterwards(self: WeightAveraging, model: nn.Module, task: Task) -> dict[str, object]:
        learnt.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return after(self, model, task)

    monkeypatch.setattr(WeightAveraging, "after_task", afterwards)
    run = train(config_of(tmp_path, lifelong__strategy="averaging"), tmp_path / "run")
    first, second = weights(run.path, 1), weights(run.path, 2)
    for name, value in learnt[0].items():
        assert torch.equal(first[name], value)
        torch.testing.assert_close(second[name], (value + learnt[1][name]) / 2)
