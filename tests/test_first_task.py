"""A first task learnt once for several runs: the same bits as if each had learnt it itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_run import small_config, small_data

from mas_triplets.config import LifelongConfig, RunConfig, make_config
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import STRATEGIES, first_task_is_plain
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first_task")
    small_data(folder)
    return folder


@pytest.fixture(scope="module")
def lender(home: Path) -> RunFolder:
    return train(config(home, lifelong__strategy="finetune"), home / "lender", until=1)


def config(home: Path, **settings: Any) -> RunConfig:
    return make_config(small_config(home, **settings))


PLAIN = [name for name in STRATEGIES if first_task_is_plain(LifelongConfig(strategy=name))]


@pytest.mark.parametrize("strategy", PLAIN)
@pytest.mark.parametrize("application", ["gradient", "proximal"])
def test_a_borrowed_first_task_gives_the_same_bytes(
    home: Path, lender: RunFolder, tmp_path: Path, strategy: str, application: str
) -> None:
    wanted = config(home, lifelong__strategy=strategy, lifelong__application=application, lifelong__strength=0.5)
    own = train(wanted, tmp_path / "own")
    borrowed = train(wanted, tmp_path / "borrowed", first_task=lender)
    assert evaluate(own) == evaluate(borrowed)
    assert borrowed.record["state"] == "finished"
    files = [path.relative_to(own.path) for path in sorted(own.path.glob("tasks/*/*")) if path.is_file()]
    assert len(files) >= 6
    for file in files:
        assert (own.path / file).read_bytes() == (borrowed.path / file).read_bytes(), file

    def log(run: RunFolder) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
        return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]

    assert log(own) == log(borrowed)


def test_features_of_a_frozen_encoder_are_standardised_as_the_lenders(home: Path, tmp_path: Path) -> None:
    frozen = {"model__image__trainable": False, "model__input_dropout": 0.5}
    lender = train(config(home, lifelong__strategy="finetune", **frozen), tmp_path / "lender")
    wanted = config(home, lifelong__strategy="mas", **frozen)
    own, borrowed = train(wanted, tmp_path / "own"), train(wanted, tmp_path / "borrowed", first_task=lender)
    for stage in (1, 2):
        one, other = (run.task_folder(stage) / "model.safetensors" for run in (own, borrowed))
        assert one.read_bytes() == other.read_bytes()


def test_until_leaves_a_run_to_be_gone_on_with(home: Path, lender: RunFolder, tmp_path: Path) -> None:
    assert (lender.stages, lender.record["state"]) == (1, "running")
    wanted = config(home, lifelong__strategy="mas")
    whole = train(wanted, tmp_path / "whole")
    train(wanted, tmp_path / "parts", until=0)
    train(wanted, tmp_path / "parts", until=1)
    parts = train(wanted, tmp_path / "parts")
    assert (parts.stages, parts.record["state"]) == (2, "finished")
    assert whole.model_fingerprint() == parts.model_fingerprint()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lifelong__strategy": "joint"}, "'joint' does not learn its first task as finetune does"),
        ({"seed": 1}, "cannot lend its first task: it has another seed"),
        ({"train__epochs": 2, "loss__name": "ranking"}, r"another loss\.name, train\.epochs"),
    ],
)
def test_a_lender_that_does_not_fit_is_told_and_nothing_is_lost(
    home: Path, lender: RunFolder, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    before = train(config(home), tmp_path / "run").model_fingerprint()
    with pytest.raises(UserError, match=sentence):
        train(config(home, **settings), tmp_path / "run", resume="never", first_task=lender)
    assert RunFolder(tmp_path / "run").model_fingerprint() == before


def test_a_lender_without_a_finished_task_is_told(home: Path, tmp_path: Path) -> None:
    empty = train(config(home, lifelong__strategy="finetune"), tmp_path / "empty", until=0)
    with pytest.raises(UserError, match="has not finished its first task"):
        train(config(home), tmp_path / "run", first_task=empty)
