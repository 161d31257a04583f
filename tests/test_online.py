"""Online MAS: importance from the stream, and learning that is never told of tasks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_noise import labelled_noise
from lifelong_runs import config_of, same, weights
from torch import Tensor, nn
from toy_tasks import in_threads, method, toy_model, toy_task, whole

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy, estimate_importance
from mas_triplets.lifelong.local import local_outputs
from mas_triplets.training.fit import StageFit
from mas_triplets.training.optimiser import learning_rate
from mas_triplets.training.run import train


def one_weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def held(strategy: Strategy) -> tuple[float, float]:
    state = strategy.state_tensors()
    return state["importance/weight"].item(), state["anchor/weight"].item()


def test_one_weight_by_hand() -> None:
    """F = w x: Omega of a batch is the mean of |2 w x^2|, measured at every second step."""
    model, x = one_weight(1.0), torch.tensor([[1.0], [2.0]])
    online = method("online-mas", interval=2, decay=0.75, normalise="none", strength=0.5, every=1)
    online.after_step(model, 0.1, x)
    assert online.importance() == {}
    online.after_step(model, 0.1, x)  # |2| and |8|
    assert held(online) == (5.0, 1.0)
    nn.init.constant_(model.weight, 3.0)
    assert online.penalty(model) == 0.5 * 5 * 4
    online.after_step(model, 0.2, x)  # a proximal step with s = 2 * 0.2 * 0.5 * 5 = 1, half the way to 1
    assert model.weight.item() == pytest.approx(2.0)
    nn.init.constant_(model.weight, 5.0)
    online.after_step(model, 0.2, 2 * x[:1])  # first to 3, then |2 * 3 * 4| = 24 enters with a quarter
    assert held(online) == pytest.approx((0.75 * 5 + 0.25 * 24, 0.75 * 1 + 0.25 * 3))


def test_pictures_that_are_missing_leave_everything_as_it_is() -> None:
    model, online = one_weight(1.0), method("online-mas", interval=1)
    online.after_step(model, 0.1, torch.empty(0, 1))
    assert online.importance() == {}


def test_state_survives_also_between_updates() -> None:
    model, (x, _) = toy_model(), whole(toy_task())
    online = method("online-mas", interval=3, every=2)
    other, again = copy.deepcopy(model), method("online-mas", interval=3, every=2)
    for step in range(11):
        if step in (2, 7):  # before the first update, and between two with a proximal step owed
            again = method("online-mas", interval=3, every=2)
            again.load_state_tensors({name: value.clone() for name, value in online.state_tensors().items()})
        for net, strategy in ((model, online), (other, again)):
            with torch.no_grad():
                for p in net.parameters():
                    p.mul_(0.9)
            strategy.after_step(net, 0.1, x)
    assert online.importance()
    assert all(torch.equal(omega, again.importance()[name]) for name, omega in online.importance().items())
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


def test_options_of_mas_that_need_no_label_are_heeded() -> None:
    model, (x, _) = toy_model(), whole(toy_task())
    online = method("online-mas", interval=1, normalise="none", scope="local", statistic="square", root=True)
    online.after_step(model, 0.1, x)
    expected = estimate_importance(model, [x], output=local_outputs, statistic="square")
    for name, omega in expected.items():
        torch.testing.assert_close(online.importance()[name], omega.sqrt())
    for option in ({"output": "logits"}, {"balance": "facts"}):
        with pytest.raises(UserError, match="'online-mas' uses no labels"):
            method("online-mas", **option)


def test_two_processes_update_as_one() -> None:
    """The second has no picture in the last batch."""
    x = whole(toy_task())[0]
    batches = [(x, x[0::2], x[1::2]), (x[:1], x[:1], x[:0])]

    def follow(strategy: Strategy, model: nn.Module, share: int, rank: int, combine: Any) -> dict[str, Tensor]:
        strategy.join(rank, 1 if combine is None else 2, combine, 0)
        for batch in batches:
            strategy.after_step(model, 0.1, batch[share])
        return strategy.state_tensors()

    models = [toy_model() for _ in range(3)]
    alone = follow(method("online-mas", interval=1), models[2], 0, 0, None)
    both = in_threads(2, lambda rank, sum: follow(method("online-mas", interval=1), models[rank], 1 + rank, rank, sum))
    for name, value in alone.items():
        torch.testing.assert_close(both[0][name], value)
        assert torch.equal(both[0][name], both[1][name])


LETTERS = "abcdef"
STREAM = [("train", [f"<{letter}>"]) for letter in LETTERS for _ in range(4)]
SETTINGS: dict[str, Any] = {
    "lifelong__strategy": "online-mas",
    "lifelong__boundaries": "none",
    "lifelong__interval": 2,
    "lifelong__every": 3,  # so that a proximal step is owed where a task ends
    "lifelong__strength": 20.0,
    "train__batch_size": 4,
}


def cut(folder: Path, ends: Sequence[int]) -> Path:
    """Write the same stream of pictures, cut into tasks after so many letters."""
    facts = [f"<{letter}>" for letter in LETTERS]
    tasks = [facts[start:stop] for start, stop in zip((0, *ends), (*ends, len(facts)), strict=True)]
    labelled_noise(folder, [*STREAM, *(("test", [fact]) for fact in facts)], tasks)
    return folder


@pytest.mark.parametrize("strategy", ["online-mas", "finetune"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_where_tasks_end_does_not_matter_to_what_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, optimiser: str
) -> None:
    """With the pictures in one order, cuts of the stream change nothing: moments, rates and the penalty go on."""
    monkeypatch.setattr(StageFit, "_arranged", lambda self, order: np.sort(order))
    settings = {**SETTINGS, "lifelong__strategy": strategy, "train__optimiser": optimiser}
    runs = []
    for number, ends in enumerate(([2], [4], [1, 3])):
        home = cut(tmp_path / str(number), ends)
        runs.append((train(config_of(home, **settings), home / "run"), len(ends) + 1))
    last = [weights(run.path, tasks) for run, tasks in runs]
    assert same(last[0], last[1])
    assert same(last[0], last[2])
    told = {**settings, "lifelong__boundaries": "tasks"}
    with_tasks = [
        train(config_of(tmp_path / str(number), **told), tmp_path / str(number) / "told") for number in (0, 1)
    ]
    assert not same(weights(with_tasks[0].path), weights(with_tasks[1].path))


def test_a_stream_that_stops_between_tasks_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    home = cut(tmp_path, [1, 4])
    config = config_of(home, **SETTINGS, train__epochs=2)
    whole_run = train(config, home / "whole")
    train(config, home / "parts", until=1)
    train(config, home / "parts", until=2)
    parts = train(config, home / "parts")
    assert same(weights(whole_run.path, 3), weights(parts.path, 3))


def test_the_learning_rate_falls_over_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = StageFit._step

    def steps(self: StageFit, rows: Any, mine: Any, batch: Tensor, rate: float) -> None:
        rates.append(rate)
        step(self, rows, mine, batch, rate)

    monkeypatch.setattr(StageFit, "_step", steps)
    config = config_of(cut(tmp_path, [2]), **SETTINGS)
    train(config, tmp_path / "run")
    assert rates == [learning_rate(number, 6, config.train) for number in range(6)]


@pytest.mark.parametrize(
    "name", ["mas", "l2", "ewc", "si", "lwf", "replay", "averaging", "joint", "frozen", "online-mas+lwf"]
)
def test_methods_that_must_be_told_of_tasks_say_so(name: str) -> None:
    with pytest.raises(UserError, match=r"must be told where a task ends.*boundaries=tasks"):
        method(name, boundaries="none")


def test_heads_in_closed_form_cannot_change_under_a_stream() -> None:
    method("analytic", boundaries="none")
    with pytest.raises(UserError, match="'analytic' changes what the others train when a task ends"):
        method("online-mas+analytic", boundaries="none")
    method("online-mas+analytic")
