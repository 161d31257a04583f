"""A run that is stopped at any moment goes on to the same bits."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_run import small_config, small_data

from mas_triplets.config import make_config
from mas_triplets.errors import Stopped, UserError
from mas_triplets.lifelong import Task
from mas_triplets.lifelong.mas import MemoryAwareSynapses
from mas_triplets.progress import Silent
from mas_triplets.training.run import train
from mas_triplets.training.session import Session

SETTINGS: dict[str, dict[str, Any]] = {
    "adam, dropout, proximal": {
        "lifelong__strategy": "mas",
        "lifelong__application": "proximal",
        "model__input_dropout": 0.5,
        "train__learning_rate_factors__encoder": 0.5,
        "train__epochs": 6,
        "train__batch_size": 3,
        "train__checkpoint_steps": 1,
    },
    "sgd, augmentation, decoded every epoch, boxes": {
        "lifelong__strategy": "mas",
        "data__decode": "every epoch",
        "data__region": "box",
        "train__augmentation__crop": 0.5,
        "train__augmentation__flip": True,
        "train__optimiser": "sgd",
        "train__epochs": 8,
        "train__batch_size": 5,
        "train__checkpoint_steps": 2,
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    small_data(folder)
    return folder


def contents(run: Path) -> dict[str, bytes]:
    """Everything of a run that must not depend on when it was stopped."""
    names = ["results.json", "language.json", "config.yaml"]
    paths = [run / name for name in names] + sorted((run / "tasks").rglob("*"))
    return {str(path.relative_to(run)): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize(("name", "kills"), list(zip(SETTINGS, (20, 12), strict=True)))
def test_killed_at_random_moments(home: Path, tmp_path: Path, name: str, kills: int) -> None:
    config = make_config(small_config(home, **SETTINGS[name]))
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    script = Path(__file__).parent / "killed_runs.py"
    command = [sys.executable, str(script), str(tmp_path), str(kills), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["landed"]) == kills
    assert len(set(told["landed"])) >= 3, told  # all over the run, not in one place
    assert any(place.split(" ")[0].endswith("-0") for place in told["landed"]), told  # within the steps of a task
    whole = contents(tmp_path / "whole")
    assert any(file.endswith("importance.safetensors") for file in whole)
    for finished in told["finished"]:
        found = contents(tmp_path / finished)
        assert found.keys() == whole.keys()
        assert [file for file in whole if found[file] != whole[file]] == [], finished
    logs = [read_log(tmp_path / run) for run in ("whole", *told["finished"])]
    assert all(log == logs[0] for log in logs)  # nothing twice, nothing lost
    kept = [path.name for path in (tmp_path / "whole" / "checkpoint").iterdir()]
    assert len(kept) == 2


def read_log(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
        line.pop("seconds_left", None)
    return lines


def test_killed_in_the_importance_pass(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(small_config(home, **SETTINGS["adam, dropout, proximal"]))
    whole = train(config, tmp_path / "whole")

    measure = MemoryAwareSynapses.measure

    def dies(self: Any, model: Any, task: Task) -> Any:
        def some() -> Any:
            yield from task.inputs()
            raise Killed

        return measure(self, model, dataclasses.replace(task, inputs=some))

    for tasks in (1, None):  # of the first task, then of the second
        with monkeypatch.context() as patched:
            patched.setattr(MemoryAwareSynapses, "measure", dies)
            with pytest.raises(Killed):
                train(config, tmp_path / "stopped")
        again = train(config, tmp_path / "stopped", until=tasks)
    for file in ("model.safetensors", "importance.safetensors"):
        assert (again.task_folder(2) / file).read_bytes() == (whole.task_folder(2) / file).read_bytes()


def test_what_a_killed_process_left_half_written_is_removed(home: Path, tmp_path: Path) -> None:
    config = make_config(small_config(home, lifelong__strategy="l2"))
    run = train(config, tmp_path / "run", until=1)
    left = [run.path / "tasks" / ".02.99.partial", run.path / "checkpoint" / ".0002-0-0.99.partial"]
    for folder in left:
        folder.mkdir()
        (folder / ".importance.json.99.partial").touch()
    train(config, tmp_path / "run")
    assert not any(folder.exists() for folder in left)
    assert sorted(path.name for path in (run.path / "tasks").iterdir()) == ["00", "01", "02"]


def test_a_damaged_checkpoint_is_passed_over_and_told(home: Path, tmp_path: Path) -> None:
    config = make_config(small_config(home, **SETTINGS["adam, dropout, proximal"]))
    whole = train(config, tmp_path / "whole")
    run = train(config, tmp_path / "run", until=1)
    older, newer = sorted((run.path / "checkpoint").iterdir())
    path = newer / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-8])

    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    again = train(config, tmp_path / "run", progress=Notes())
    assert any("damaged" in note and newer.name in note for note in notes)
    assert same_weights(whole.path, again.path)
    (tmp_path / "both").mkdir()
    run = train(config, tmp_path / "other", until=1)
    for checkpoint in (run.path / "checkpoint").iterdir():
        (checkpoint / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"damaged.*--resume never"):
        train(config, tmp_path / "other")
    assert older.name != newer.name


def same_weights(one: Path, other: Path) -> bool:
    found = [load_file(run / "tasks" / "02" / "model.safetensors") for run in (one, other)]
    return found[0].keys() == found[1].keys() and all(torch.equal(found[0][k], found[1][k]) for k in found[0])


def test_a_checkpoint_of_an_earlier_version_is_told(home: Path, tmp_path: Path) -> None:
    config = make_config(small_config(home))
    run = train(config, tmp_path / "run", until=1)
    (run.path / "checkpoint" / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"earlier version.*--resume never"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    settings = {**SETTINGS["adam, dropout, proximal"], "train__checkpoint_steps": None}
    config = make_config(small_config(home, **settings))
    whole = train(config, tmp_path / "whole")
    describe = Session._describe
    with monkeypatch.context() as patched:

        def describes(self: Session, fit: Any) -> None:
            describe(self, fit)
            if self.state.stage == 2 and self.state.step == fit.per_epoch:
                os.kill(os.getpid(), number)

        patched.setattr(Session, "_describe", describes)
        with pytest.raises(Stopped, match=r"stopped after step \d of task 2, with a checkpoint in .*the same command"):
            train(config, tmp_path / "stopped")
    assert signal.getsignal(number) != number  # the handlers that were there are back
    newest = sorted((tmp_path / "stopped" / "checkpoint").iterdir())[-1]
    assert newest.name.startswith("0002-")
    assert newest.name.endswith("-0")
    again = train(config, tmp_path / "stopped")
    assert same_weights(whole.path, again.path)


def test_ctrl_c_on_the_command_line(home: Path, tmp_path: Path) -> None:
    tree = small_config(home, train__epochs=3000, train__batch_size=2)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    command = [
        sys.executable,
        "-m",
        "mas_triplets",
        "train",
        str(tmp_path / "config.yaml"),
        "--out",
        str(tmp_path / "run"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "run" / "log.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (log.is_file() and log.stat().st_size > 500):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped after step" in err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err


def test_a_full_disk_leaves_the_previous_checkpoint_whole(home: Path, tmp_path: Path) -> None:
    config = make_config(small_config(home, **SETTINGS["adam, dropout, proximal"]))
    whole = train(config, tmp_path / "whole")
    train(config, tmp_path / "run", until=1)
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoint").rglob("*") if path.is_file()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(len(data) for data in before.values())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, limit[1]))
        with pytest.raises(UserError, match=r"could not be written .*those before are whole .*: make room there"):
            train(config, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    after = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoint").rglob("*") if path.is_file()}
    assert after == before
    assert same_weights(whole.path, train(config, tmp_path / "run").path)


def test_weights_that_are_not_finite_are_never_written(home: Path, tmp_path: Path) -> None:
    settings = {"train__optimiser": "sgd", "train__learning_rate": 1e30, "train__epochs": 4, "train__batch_size": 4}
    config = make_config(small_config(home, **settings, train__checkpoint_steps=1))
    with pytest.raises(UserError, match=r"the last good checkpoint is .*checkpoint/0"):
        train(config, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoint").rglob("*.safetensors"):
        assert all(bool(torch.isfinite(value).all()) for value in load_file(path).values())


class Killed(BaseException):
    """What a test ends a run with."""


@pytest.mark.parametrize("workers", [0, 2])
def test_within_an_epoch_with_dropout_and_worker_processes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    settings = {**SETTINGS["adam, dropout, proximal"], "data__decode": "every epoch", "data__workers": workers}
    settings["train__epochs"] = 2
    config = make_config(small_config(home, **settings))
    whole = train(config, tmp_path / "whole")
    save = Session.save
    with monkeypatch.context() as patched:

        def saves(self: Session) -> None:
            save(self)
            if (self.state.stage, self.state.step, self.state.phase) == (1, 2, 0):
                raise Killed

        patched.setattr(Session, "save", saves)
        with pytest.raises(Killed):
            train(config, tmp_path / "stopped")
    again = train(config, tmp_path / "stopped")
    assert same_weights(whole.path, again.path)
    others = make_config(small_config(home, **{**settings, "data__workers": 2 - workers}))
    assert same_weights(whole.path, train(others, tmp_path / "others").path)  # nor do the bits depend on workers


def test_folders_that_are_no_checkpoints_are_left_alone(home: Path, tmp_path: Path) -> None:
    config = make_config(small_config(home, **SETTINGS["adam, dropout, proximal"]))
    run = train(config, tmp_path / "run", until=1)
    newest = sorted((run.path / "checkpoint").iterdir())[-1]
    for name in ("backup", "zz"):
        shutil.copytree(newest, run.path / "checkpoint" / name)
    train(config, tmp_path / "run")
    names = sorted(path.name for path in (run.path / "checkpoint").iterdir())
    assert names[2:] == ["backup", "zz"]
    assert all(name.startswith("0002-") for name in names[:2])


def test_a_penalty_that_is_not_finite_is_told(home: Path, tmp_path: Path) -> None:
    settings = {"lifelong__strategy": "l2", "lifelong__strength": 1e30, "train__optimiser": "sgd", "train__epochs": 5}
    settings["lifelong__application"] = "gradient"
    config = make_config(small_config(home, **settings, train__batch_size=1000, train__log_steps=1))
    with pytest.raises(UserError, match=r"the (penalty|loss) is .*lower train.learning_rate.*the last good checkpoint"):
        train(config, tmp_path / "run")


def test_a_full_disk_as_a_task_is_written_is_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(small_config(home, lifelong__strategy="mas"))
    whole = train(config, tmp_path / "whole")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    finish = Session.finish_stage
    smallest = (whole.task_folder(2) / "importance.safetensors").stat().st_size // 2

    def finishes(self: Session, data: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest, limit[1]))
        try:
            finish(self, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "finish_stage", finishes)
        with pytest.raises(UserError, match=r"tasks/01 could not be written .*make room there"):
            train(config, tmp_path / "run")
    assert same_weights(whole.path, train(config, tmp_path / "run").path)
