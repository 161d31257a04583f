"""Adaptation: importance measured anew on other pictures, and the run that goes on with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from notes import Notes
from safetensors.torch import load_file
from small_run import small_config, small_data
from test_cli import fails, run

from mas_triplets.config import RunConfig, make_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.training.adapt import adapt, joined
from mas_triplets.training.checkpoints import Checkpoints
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.session import Session
from mas_triplets.training.unlabelled import unlabelled

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with the splits `one` and `two`, and a run of `two` that has learnt its first task."""
    folder = tmp_path_factory.mktemp("adapt")
    dataset = small_data(folder)
    write_split(dataset, make_split("one", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    train(config(folder), folder / "first", until=1)
    return folder


def config(home: Path, **settings: Any) -> RunConfig:
    return make_config(small_config(home, **{"lifelong__strategy": "mas", "lifelong__strength": 30, **settings}))


def omega(found: RunFolder, stage: int = 1) -> dict[str, torch.Tensor]:
    return load_file(found.task_folder(stage) / "importance.safetensors")


def held(found: RunFolder) -> dict[str, torch.Tensor]:
    newest = Checkpoints(found.path / "checkpoint").newest("cpu")
    assert newest is not None
    return newest[1]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalise": "layer", "root": True},
        {"scope": "local", "normalise": "none"},
        {"control": "shuffled", "statistic": "square"},
        {"mode": "batched", "max_samples": 5},
        {"strategy": "mas+lwf"},
        {"strategy": "averaging+mas"},
    ],
)
@pytest.mark.parametrize("region", ["image", "box"])
def test_the_training_pictures_give_what_training_measured(
    home: Path, tmp_path: Path, settings: dict[str, Any], region: str
) -> None:
    chosen = {f"lifelong__{key}": value for key, value in settings.items()}
    own = train(config(home, data__split="one", data__region=region, **chosen), tmp_path / "own")
    again = adapt(own, home / "data", tmp_path / "again")
    for file in ("model.safetensors", "importance.safetensors", "importance.json"):
        assert (again.task_folder(1) / file).read_bytes() == (own.task_folder(1) / file).read_bytes()
    assert same(held(again), held(own))


def test_with_a_frozen_encoder_too(home: Path, tmp_path: Path) -> None:
    frozen = {"model__image__trainable": False, "model__input_dropout": 0.5, "data__split": "one"}
    own = train(config(home, **frozen), tmp_path / "own")
    assert same(omega(adapt(own, home / "data", tmp_path / "again")), omega(own))


def test_joining_by_hand() -> None:
    stored, measured = {"a": torch.tensor([1.0, 3.0])}, {"a": torch.tensor([5.0, 1.0])}
    assert joined(stored, measured, "replace", None)["a"].tolist() == [5, 1]
    assert joined(stored, measured, "add", 2)["a"].tolist() == [11, 5]
    assert joined(stored, measured, "average", 0.25)["a"].tolist() == [2, 2.5]


@pytest.mark.parametrize(
    ("mode", "weight", "old", "new"), [("add", None, 1, 1), ("add", 3, 1, 3), ("average", None, 0.5, 0.5)]
)
def test_modes_on_a_run(home: Path, tmp_path: Path, mode: str, weight: float | None, old: float, new: float) -> None:
    first, pictures = RunFolder(home / "first"), unlabelled(home / "data", "image", part="val")
    replaced = omega(adapt(first, pictures, tmp_path / "replaced"))
    made = adapt(first, pictures, tmp_path / "made", mode=mode, weight=weight)
    found, before = omega(made), omega(first)
    assert all(torch.allclose(found[name], old * before[name] + new * replaced[name]) for name in found)
    assert made.record["adapted"][0]["weight"] == new


def test_only_importance_is_another_and_the_run_is_left_alone(home: Path, tmp_path: Path) -> None:
    before = contents(home / "first")
    first, made = RunFolder(home / "first"), adapt(home / "first", home / "pictures", tmp_path / "made")
    one, other = held(first), held(made)
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    assert differ
    assert {name.partition("/")[2].partition("/")[0] for name in differ} == {"importance"}
    assert one.keys() == other.keys()
    held_now = {name.removeprefix("strategy/importance/"): other[name] for name in other if "/importance/" in name}
    assert same(held_now, omega(made))
    assert made.model_fingerprint() == first.model_fingerprint()
    train(config(home), made.path)
    assert contents(home / "first") == before


def test_it_goes_on_to_the_same_bits_with_another_second_task(home: Path, tmp_path: Path) -> None:
    plain = train(config(home), tmp_path / "plain")
    pictures = unlabelled(home / "data", "image", part="val", facts=[Fact("dog")])
    runs = [train(config(home), adapt(home / "first", pictures, tmp_path / name).path) for name in ("one", "two")]
    assert [made.record["state"] for made in runs] == ["finished", "finished"]
    assert runs[0].model_fingerprint(1) == plain.model_fingerprint(1)
    assert runs[0].model_fingerprint(2) == runs[1].model_fingerprint(2) != plain.model_fingerprint(2)
    assert same(omega(runs[0], 2), omega(runs[1], 2))
    twice = adapt(runs[0], home / "pictures", tmp_path / "twice")
    assert [about["after_task"] for about in twice.record["adapted"]] == [1, 2]
    assert twice.record["adapted"][1]["model"] == runs[0].model_fingerprint(2)
    assert same(omega(twice, 1), omega(runs[0], 1))
    assert train(config(home), twice.path).record == twice.record  # all is learnt: nothing follows


def test_a_folder_gives_what_its_data_set_gives(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "of use" / "deep"
    shutil.copytree(home / "pictures", moved)
    found = omega(adapt(home / "first", tmp_path / "of use", tmp_path / "folder"))
    wanted = omega(adapt(home / "first", unlabelled(home / "data", "image", part="all"), tmp_path / "data"))
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-5) for name in wanted)


def test_a_folder_needs_nothing_of_the_data_set(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_gone(folder: Path) -> PreparedDataset:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(PreparedDataset, "open", is_gone)
    assert adapt(home / "first", home / "pictures", tmp_path / "made").stages == 1


def test_what_is_chosen(home: Path) -> None:
    dataset = PreparedDataset.open(home / "data")
    dogs = unlabelled(home / "data", "image", part="test", facts=[Fact(None, "chase")])
    assert dogs.chosen.tolist() == [7, 15, 23]  # odd pictures of the last pair of each four
    assert {dataset.images["split"][number].as_py() for number in dogs.chosen} == {"test"}
    assert len(unlabelled(home / "data", "image").chosen) == 12
    assert unlabelled(home / "data", "image", part="all").sample(5).chosen.tolist() == [0, 4, 9, 14, 19]
    assert unlabelled(home / "pictures", "box", limit=50).chosen.tolist() == list(range(24))


def test_a_broken_picture_is_told_and_left_out(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "pictures", tmp_path / "use")
    whole = adapt(home / "first", tmp_path / "use", tmp_path / "whole")
    (tmp_path / "use" / "099.png").write_bytes(b"no picture")
    notes = Notes()
    made = adapt(home / "first", tmp_path / "use", tmp_path / "made", progress=notes)
    assert any("1 pictures cannot be read and are left out" in line and "099.png" in line for line in notes.lines)
    about, wanted = made.record["adapted"][0], whole.record["adapted"][0]
    assert (about["pictures"], about["pictures_fingerprint"]) == (24, wanted["pictures_fingerprint"])
    assert len(about["unreadable"]) == 1
    assert same(omega(made), omega(whole))


def test_nothing_but_broken_pictures(home: Path, tmp_path: Path) -> None:
    (tmp_path / "use").mkdir()
    (tmp_path / "use" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"none of the pictures of .*use can be read; the first: .*a\.png"):
        adapt(home / "first", tmp_path / "use", tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"strategy": "ewc"}, "'ewc' cannot measure .* needs the labels"),
        ({"strategy": "l2+replay"}, "'l2.replay' cannot .* every weight alike"),
        ({"strategy": "si"}, "steps of learning"),
        ({"strategy": "online-mas"}, "on the stream"),
        ({"strategy": "finetune"}, "it has none. Take a run of lifelong.strategy=mas"),
        ({"output": "present"}, r"lifelong\.output=present, which needs .* lifelong\.output=embedding"),
        ({"balance": "facts"}, r"lifelong\.balance=facts, which needs"),
    ],
)
def test_methods_that_do_not_measure_on_pictures_alone(
    home: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    chosen = {f"lifelong__{key}": value for key, value in settings.items()}
    other = train(config(home, **chosen), tmp_path / "other", until=1)
    with pytest.raises(UserError, match=sentence):
        adapt(other, home / "pictures", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_run_that_stands_within_a_task(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = train(config(home), tmp_path / "empty", until=0)
    with pytest.raises(UserError, match="has not finished a task yet"):
        adapt(empty, home / "pictures", tmp_path / "made")
    shutil.copytree(home / "first", tmp_path / "run")
    save = Session.save

    def saves(self: Session) -> None:
        save(self)
        if (self.state.stage, self.state.phase) == (2, 1):
            raise KeyError("killed")

    monkeypatch.setattr(Session, "save", saves)
    with pytest.raises(KeyError):
        train(config(home), tmp_path / "run")
    with pytest.raises(UserError, match=r"stands within task 2: finish it with `mas-triplets train .*--tasks 2 --out"):
        adapt(tmp_path / "run", home / "pictures", tmp_path / "made")


def test_a_kill_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Checkpoints, "save", dies)  # all of the copy is there by then but its checkpoint
        adapt(home / "first", home / "data", tmp_path / "made")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (tmp_path / "made").exists()
    assert len(list(tmp_path.iterdir())) == 1  # what was being written, under a hidden name
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            adapt(home / "first", home / "data", tmp_path / "made")
    assert list(tmp_path.iterdir()) == []  # the next one that writes there has removed it
    assert adapt(home / "first", home / "data", tmp_path / "made").stages == 1


def test_without_links_files_are_copied(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = adapt(home / "first", home / "data", tmp_path / "linked")
    assert (linked.path / "language.safetensors").samefile(home / "first" / "language.safetensors")
    assert not (linked.path / "log.jsonl").samefile(home / "first" / "log.jsonl")

    def refuses(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuses)
    copied = adapt(home / "first", home / "data", tmp_path / "copied")
    skipped = ("run.json", "tensorboard")
    one, other = (
        {name: value for name, value in contents(made.path).items() if not name.startswith(skipped)}
        for made in (linked, copied)
    )
    assert one == other


def test_the_commands(home: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(config(home).to_yaml())
    done = run("train", "config.yaml", "--out", "run", "--tasks", "1", cwd=tmp_path)
    assert "1 of 2 tasks are learnt: without --tasks the same command goes on" in done.stdout
    chosen = ("--part", "val", "--fact", "<*, ride, *>", "--fact", "dog", "--limit", "4", "--mode", "average")
    made = run("adapt", "run", home / "data", "--out", "made", *chosen, "--weight", "0.25", "--json", cwd=tmp_path)
    about = json.loads(made.stdout)
    assert about == RunFolder(tmp_path / "made").record["adapted"][0]
    assert (about["facts"], about["pictures"], about["weight"]) == (["<*, ride>", "<dog>"], 4, 0.25)
    told = run("adapt", "run", home / "pictures", "--out", "other", cwd=tmp_path)
    assert "Next: mas-triplets train other/config.yaml --out other  (learns task 2 with it)" in told.stdout
    run("train", "other/config.yaml", "--out", "other", cwd=tmp_path)
    assert RunFolder(tmp_path / "other").record["state"] == "finished"
    assert "no task follows" in run("adapt", "other", home / "pictures", "--out", "last", cwd=tmp_path).stdout
    folder = ("adapt", "run", home / "pictures", "--out")
    fails(*folder, "made", cwd=tmp_path, says="made exists already")
    fails(*folder, "new", "--mode", "mix", cwd=tmp_path, says="unknown mode 'mix'")
    fails(*folder, "new", "--weight", "2", cwd=tmp_path, says="a weight goes with the modes add and average")
    fails(*folder, "new", "--mode", "average", "--weight", "2", cwd=tmp_path, says="above 0 and at most 1")
    fails(*folder, "new", "--part", "val", cwd=tmp_path, says="has no parts and no labels")
    fails("adapt", "run", "absent", "--out", "new", cwd=tmp_path, says="absent is not a folder")
    fails("adapt", "made", tmp_path / "run", "--out", "new", cwd=tmp_path, says="holds no picture")
    data = ("adapt", "run", home / "data", "--out", "new")
    fails(*data, "--part", "vall", cwd=tmp_path, says="did you mean 'val'?")
    fails(*data, "--fact", "<cow>", cwd=tmp_path, says="is covered by <cow>")
    joint = ("--set", "lifelong.strategy=joint", "--out", "joint", "--tasks", "1")
    fails("train", "config.yaml", *joint, cwd=tmp_path, says="'joint' learns all tasks at once: leave --tasks out")
    assert not (tmp_path / "new").exists()
