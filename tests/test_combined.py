"""Methods by name, several at once; and every one of them in runs that are killed and go on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from lifelong_runs import config_of, killed_after_saving, same, weights
from small_run import small_data
from torch import Tensor
from toy_tasks import method, take_step, toy_model, toy_task, whole

from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import STRATEGIES
from mas_triplets.lifelong.combined import Combined
from mas_triplets.lifelong.methods import parts, tuned_keys
from mas_triplets.training.run import train


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mass", "unknown lifelong.strategy 'mass': did you mean 'mas'"),
        ("mas+mass", "unknown lifelong.strategy 'mass': did you mean 'mas'"),
        ("mas+", "unknown lifelong.strategy ''"),
        ("lwf+mas+lwf", "names a method twice"),
        ("mas+ewc", "mas and ewc each hold the weights"),
        ("si+lwf+online-mas", "si and online-mas each hold the weights"),
        ("mas+joint", "'joint' cannot be joined"),
        ("finetune+replay", "'finetune' cannot be joined"),
        ("zero-shot+analytic", "'zero-shot' cannot be joined"),
        ("frozen+mas", "'frozen' leaves 'mas' nothing to do after the first task"),
        ("lwf+frozen", "'frozen' leaves 'lwf' nothing to do after the first task"),
    ],
)
def test_what_cannot_be_joined_is_told(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("+", r"\+")):
        method(name)


def test_those_that_settle_come_first_however_they_are_named() -> None:
    for names in itertools.permutations(("mas", "averaging", "lwf", "replay")):
        joined = method("+".join(names))
        assert isinstance(joined, Combined)
        found = [part.name for part in joined.parts]
        assert found == ["averaging", *(name for name in names if name != "averaging")]


def test_heads_are_solved_after_weights_are_averaged_whatever_the_name() -> None:
    for name in ("averaging+analytic", "analytic+averaging", "mas+analytic+averaging"):
        joined = method(name)
        assert isinstance(joined, Combined)
        assert [part.name for part in joined.parts][:2] == ["averaging", "analytic"]
    for name in ("mas+merging", "l2+merging", "online-mas+averaging"):
        with pytest.raises(UserError, match=r"lifelong\.strategy '"):
            method(name)


def test_a_penalty_holds_the_mean_that_averaging_leaves() -> None:
    model, joined = toy_model(), method("mas+averaging")
    for number, value in ((1, 1.0), (2, 3.0)):
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(value)
        joined.after_task(model, toy_task(number))
    anchor = {name: value for name, value in joined.state_tensors().items() if name.startswith("mas/anchor/")}
    assert len(anchor) == 4
    assert all(bool((value == 2).all()) for value in anchor.values())
    assert joined.penalty(model) == 0


def test_takes_steps_if_a_part_learns() -> None:
    frozen = method("frozen+analytic")
    assert [frozen.takes_steps(task) for task in (1, 2, 3)] == [True, False, False]
    assert [method("mas+analytic").takes_steps(task) for task in (1, 2)] == [True, True]
    assert [method("analytic").takes_steps(task) for task in (1, 2)] == [False, False]
    assert set(tuned_keys("mas+lwf+analytic")) == {"lifelong.strength", "lifelong.distillation", "lifelong.ridge"}


def test_the_state_of_all_parts_survives() -> None:
    model, names = toy_model(), "si+lwf+replay+averaging"
    joined, again = method(names, memory={"pairs": 4}), method(names, memory={"pairs": 4})
    for number in (1, 2):
        joined.before_task(model, toy_task(number))
        take_step(model, joined, 0.1, 0.1, whole(toy_task(number))[0])
        if number == 1:
            joined.after_last_step(model)
            told = joined.after_task(model, toy_task(number))
            assert set(told) == {"importance", "memory"}
    state = {name: value.clone() for name, value in joined.state_tensors().items()}
    assert {name.split("/")[0] for name in state} == {"si", "lwf", "replay", "averaging"}
    again.load_state_tensors(state)
    found = again.state_tensors()
    assert found.keys() == state.keys()
    assert all(torch.equal(value, found[name]) for name, value in state.items())
    x = whole(toy_task())[0]
    extras = [one.extra_loss(model, x, model(x)) for one in (joined, again)]
    assert isinstance(extras[0], Tensor)
    assert isinstance(extras[1], Tensor)
    assert torch.equal(extras[0], extras[1])
    assert joined.penalty(model) == again.penalty(model)
    assert isinstance(joined, Combined)
    assert joined.memory_bytes(model) == sum(part.memory_bytes(model) for part in joined.parts)


def test_a_method_without_a_state_refuses_one() -> None:
    with pytest.raises(ValueError, match="finetune has no state"):
        method("finetune").load_state_tensors({"a": torch.ones(1)})


def test_memory_of_the_methods() -> None:
    net = toy_model()
    net[2].requires_grad_(False)
    names = [name for name in STRATEGIES if name not in ("analytic", "class-means")]  # which need a model with heads
    kept = {name: method(name).memory_bytes(net) for name in names}
    both = 2 * 4 * 25  # importance and anchor
    assert kept == {
        **dict.fromkeys(("finetune", "zero-shot", "frozen", "joint", "replay", "slow"), 0),
        **dict.fromkeys(("l2", "mas", "online-mas", "ewc"), both),
        "si": 3 * both,
        "lwf": 8 * 25,  # in float64 here, and without what is frozen
        "averaging": 8 * 25,
        "merging": (4 + 8) * 25,  # importance and merged weights
    }
    assert method("mas+lwf").memory_bytes(net) == both + 8 * 25


def test_zero_shot_learns_nothing() -> None:
    assert [name for name, kind in STRATEGIES.items() if kind.closed_form] == ["zero-shot", "analytic", "class-means"]
    assert method("zero-shot").after_task(toy_model(), toy_task()) == {}


NAMES = [name for name in STRATEGIES if name != "zero-shot"]
JOINS = ["mas+lwf", "ewc+replay", "si+averaging+replay", "frozen+analytic", "mas+analytic", "online-mas+lwf"]
SETTINGS: dict[str, Any] = {
    "train__batch_size": 4,
    "train__epochs": 2,
    "train__checkpoint_steps": 1,
    "model__input_dropout": 0.3,
    "lifelong__interval": 2,
    "lifelong__every": 2,
    "lifelong__memory": {"per_fact": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("combined")
    small_data(folder)
    return folder


@pytest.mark.parametrize("name", [*NAMES, *JOINS])
def test_killed_and_gone_on_with_to_the_same_bits(home: Path, tmp_path: Path, name: str) -> None:
    """Killed in the middle of an epoch, before the task is looked at, between tasks, and in the second task."""
    config = config_of(home, lifelong__strategy=name, **SETTINGS)
    whole_run = train(config, tmp_path / "whole")
    stages, strategy = 1 if name == "joint" else 2, method(name)
    places = [(1, 2, 0)] if strategy.takes_steps(1) else []
    places += [(1, 6 if strategy.takes_steps(1) else 0, phase) for phase in (1, 2)]
    if stages == 2:
        places += [(2, 3, 0)] if strategy.takes_steps(2) else []
        places += [(2, 6 if strategy.takes_steps(2) else 0, 1)]
    for place in places:
        with killed_after_saving(place):
            train(config, tmp_path / "stopped")
    stopped = train(config, tmp_path / "stopped")
    for stage in range(1, stages + 1):
        files = [sorted(path for path in run.task_folder(stage).iterdir()) for run in (whole_run, stopped)]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        for one, other in zip(*files, strict=True):
            assert one.read_bytes() == other.read_bytes(), one.name
    assert evaluate(whole_run) == evaluate(stopped)


OPTIONS: list[dict[str, Any]] = [
    {"strategy": "mas", "scope": "local", "control": "shuffled"},
    {"strategy": "mas", "output": "logits", "normalise": "layer", "accumulate": "max"},
    {"strategy": "mas", "output": "present", "balance": "facts", "control": "layer-mean", "max_samples": 5},
    {"strategy": "mas", "mode": "batched", "statistic": "square", "root": True, "control": "uniform"},
    {"strategy": "ewc", "accumulate": "decay", "root": True, "application": "gradient"},
    {"strategy": "online-mas", "boundaries": "none", "scope": "local"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_in_a_run_that_is_killed_and_goes_on(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    config = config_of(home, **SETTINGS, **{f"lifelong__{key}": value for key, value in options.items()})
    whole_run = train(config, tmp_path / "whole")
    for place in ((1, 6, 1), (2, 3, 0)):
        with killed_after_saving(place):
            train(config, tmp_path / "stopped")
    stopped = train(config, tmp_path / "stopped")
    for file in ("model.safetensors", "importance.safetensors", "importance.json"):
        assert (whole_run.task_folder(2) / file).read_bytes() == (stopped.task_folder(2) / file).read_bytes()


def test_frozen_does_not_move_after_the_first_task(home: Path, tmp_path: Path) -> None:
    frozen, finetune = (
        train(config_of(home, lifelong__strategy=name, **SETTINGS), tmp_path / name) for name in ("frozen", "finetune")
    )
    assert same(weights(frozen.path, 1), weights(finetune.path, 1))
    assert same(weights(frozen.path, 1), weights(frozen.path, 2))
    assert not same(weights(finetune.path, 1), weights(finetune.path, 2))


def test_frozen_with_closed_form_heads_moves_only_those(home: Path, tmp_path: Path) -> None:
    run = train(config_of(home, lifelong__strategy="frozen+analytic", **SETTINGS), tmp_path / "run")
    before, after, start = weights(run.path, 1), weights(run.path, 2), weights(run.path, 0)
    moved = {name for name, value in after.items() if not torch.equal(before[name], value)}
    assert moved
    assert all(name.startswith("heads.") for name in moved)
    assert any(not torch.equal(start[name], value) for name, value in before.items() if name.startswith("encoder."))


def test_joint_learns_all_tasks_at_once(home: Path, tmp_path: Path) -> None:
    run = train(config_of(home, lifelong__strategy="joint", **SETTINGS), tmp_path / "run")
    assert (run.stages, run.record["state"]) == (1, "finished")


def test_zero_shot_needs_a_shared_space(home: Path, tmp_path: Path) -> None:
    more = {"model__residual": True, "model__text__dim": 128, "model__hidden": []}
    with pytest.raises(UserError, match="'zero-shot' judges the model as it is"):
        train(config_of(home, lifelong__strategy="zero-shot", **SETTINGS), tmp_path / "run")
    run = train(config_of(home, lifelong__strategy="zero-shot", **SETTINGS, **more), tmp_path / "run")
    assert all(same(weights(run.path, 0), weights(run.path, stage)) for stage in (1, 2))


def test_parts_are_told_of_the_run() -> None:
    joined = method("mas+lwf")
    assert isinstance(joined, Combined)
    joined.join(1, 3, lambda tensor: tensor, 7)
    assert {(part.rank, part.processes, part.seed) for part in joined.parts} == {(1, 3, 7)}
    assert parts("mas+lwf") == (STRATEGIES["mas"], STRATEGIES["lwf"])
