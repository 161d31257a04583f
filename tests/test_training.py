"""Training over tasks: the same bits twice, resume at task boundaries, what the methods do to one another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_run import small_config, small_data

from mas_triplets.config import RunConfig, TrainConfig, make_config
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import STRATEGIES, Strategy
from mas_triplets.training.optimiser import learning_rate
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    small_data(folder)
    return folder


def config(home: Path, **settings: Any) -> RunConfig:
    return make_config(small_config(home, **settings))


def weights(run: RunFolder, stage: int | None = None) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(
        run.task_folder(run.stages if stage is None else stage) / "model.safetensors"
    )
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "settings", [{"lifelong__strategy": "mas"}, {"model__input_dropout": 0.5, "loss__name": "ranking"}]
)
def test_same_seed_same_bits(home: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    one = train(config(home, **settings), tmp_path / "one")
    torch.manual_seed(2)  # what the caller did with the global random state must not matter
    state = torch.get_rng_state()
    two = train(config(home, **settings), tmp_path / "two")
    assert torch.equal(state, torch.get_rng_state())  # nor may it be changed
    evaluate(one)
    evaluate(two)
    assert same(weights(one), weights(two))
    assert (one.path / "results.json").read_bytes() == (two.path / "results.json").read_bytes()
    other = train(config(home, **settings, seed=1), tmp_path / "three")
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize("application", ["gradient", "proximal"])
@pytest.mark.parametrize("strategy", ["l2", "mas"])
def test_strength_zero_is_finetune_bit_for_bit(home: Path, tmp_path: Path, strategy: str, application: str) -> None:
    plain = train(config(home, lifelong__strategy="finetune"), tmp_path / "finetune")
    settings = {"lifelong__strategy": strategy, "lifelong__strength": 0, "lifelong__application": application}
    held = train(config(home, **settings), tmp_path / "held")
    assert same(weights(plain), weights(held))
    assert (held.task_folder(1) / "importance.safetensors").is_file()


def test_a_strong_penalty_holds_the_first_tasks_weights(home: Path, tmp_path: Path) -> None:
    settings = {"lifelong__strategy": "l2", "lifelong__application": "proximal", "train__epochs": 3}
    run = train(config(home, **settings, lifelong__strength=1e8), tmp_path / "held")
    loose = train(config(home, **settings, lifelong__strength=0), tmp_path / "loose")
    for name, value in weights(run, 1).items():
        torch.testing.assert_close(weights(run, 2)[name], value, rtol=0, atol=1e-5)
    assert any((weights(loose, 1)[n] - v).abs().max() > 1e-3 for n, v in weights(loose, 2).items())


def test_a_finished_run_is_left_as_it_is(home: Path, tmp_path: Path) -> None:
    wanted = config(home, lifelong__strategy="mas", lifelong__strength=0.1)
    stopped = train(wanted, tmp_path / "run", until=1)
    assert (stopped.stages, stopped.record["state"]) == (1, "running")
    unfinished = evaluate(stopped)  # one of two tasks is learnt: not yet defined
    assert (unfinished["average"], unfinished["all"]) == (None, None)
    again = train(wanted, tmp_path / "run")
    assert (again.stages, again.record["state"]) == (2, "finished")
    before = {path: path.stat().st_mtime_ns for path in again.path.rglob("*")}
    train(wanted, tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in again.path.rglob("*")} == before


def test_another_configuration_does_not_replace_a_run(home: Path, tmp_path: Path) -> None:
    train(config(home), tmp_path / "run")
    with pytest.raises(UserError, match=r"another lifelong\.strength \(1\.0 there, 2\.0 here\).*--resume never"):
        train(config(home, lifelong__strength=2.0), tmp_path / "run")
    run = train(config(home, lifelong__strength=2.0), tmp_path / "run", resume="never")
    assert run.config.lifelong.strength == 2.0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not a run"):
        train(config(home), tmp_path / "mine", resume="never")


def test_a_run_that_has_learnt_nothing_yet_is_told(home: Path, tmp_path: Path) -> None:
    run = train(config(home), tmp_path / "run")
    for stage in (1, 2):
        shutil.rmtree(run.task_folder(stage))
    with pytest.raises(UserError, match="has not finished a task yet"):
        evaluate(run)
    with pytest.raises(UserError, match=r"lacks finished tasks.*--resume never"):
        train(config(home), tmp_path / "run")


def test_tasks_are_counted_past_ninety_nine(home: Path, tmp_path: Path) -> None:
    run = train(config(home), tmp_path / "run")
    for stage in range(3, 103):
        run.task_folder(stage).mkdir()
        (run.task_folder(stage) / "model.safetensors").touch()
    assert run.stages == 102
    (run.task_folder(50) / "model.safetensors").unlink()
    assert run.stages == 49


def test_a_run_stopped_as_it_began_can_be_started_again(home: Path, tmp_path: Path) -> None:
    run = train(config(home), tmp_path / "run")
    for path in run.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("config.yaml", "language.json"):
            path.unlink()
    assert train(config(home), tmp_path / "run").stages == 2


def test_what_is_no_record_or_checkpoint_is_told(home: Path, tmp_path: Path) -> None:
    run = train(config(home), tmp_path / "run")
    (run.path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run.json is not the record of a run"):
        evaluate(run)


def test_weights_that_are_damaged_or_of_another_shape_are_told(home: Path, tmp_path: Path) -> None:
    run = train(config(home), tmp_path / "run")
    path = run.task_folder(2) / "model.safetensors"
    save_file({**load_file(path), "trunk.0.weight": torch.zeros(1, 1)}, path)
    with pytest.raises(UserError, match=r"does not fit.*trunk\.0\.weight"):
        run.load_model()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read as weights"):
        run.load_model()


def test_a_part_without_pictures_is_told(home: Path, tmp_path: Path) -> None:
    small_data(tmp_path / "few", pictures=4)
    with pytest.raises(UserError, match="no picture in the part 'test'"):
        evaluate(train(config(tmp_path / "few"), tmp_path / "run"))


def test_joint_learns_all_tasks_in_one_stage(home: Path, tmp_path: Path) -> None:
    run = train(config(home, lifelong__strategy="joint"), tmp_path / "run")
    assert run.stages == 1
    results = evaluate(run)
    R = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]["R"]
    assert R[0] == [None, None]
    assert None not in R[1]
    assert results["average"] == pytest.approx(sum(R[1]) / 2)
    assert results["forgetting"] is None


def test_a_fact_without_a_training_picture_is_told_or_allowed(home: Path, tmp_path: Path) -> None:
    # the only training part is val, in which facts whose pictures are all elsewhere have none
    data = tmp_path / "few"
    small_data(data, pictures=4)  # two pictures in train, two more in train: test and val are empty
    with pytest.raises(UserError, match=r"6 facts of .* have no picture in val.*data\.unseen_facts=allow"):
        train(config(data, data__train_parts=["val"]), tmp_path / "run")
    with pytest.raises(UserError, match="no training picture at all"):
        train(config(data, data__train_parts=["val"], data__unseen_facts="allow"), tmp_path / "run")


def test_a_loss_that_explodes_stops_with_a_sentence(home: Path, tmp_path: Path) -> None:
    settings = {"train__optimiser": "sgd", "train__learning_rate": 1e30, "train__epochs": 4}
    with pytest.raises(UserError, match=r"the loss is (nan|inf).*train\.learning_rate"):
        train(config(home, **settings), tmp_path / "run")


def test_names_are_checked_before_any_work(home: Path, tmp_path: Path) -> None:
    for settings, says in (
        ({"lifelong__strategy": "mass"}, "did you mean 'mas'"),
        ({"loss__name": "rank"}, "did you mean 'ranking'"),
        ({"model__text__name": "golve"}, "did you mean 'glove'"),
        ({"model__image__name": "cnm"}, "did you mean 'cnn'"),
        ({"data__split": "tow"}, "did you mean 'two'"),
        ({"train__device": "abacus"}, "train.device"),
        ({"train__device": "meta"}, "train.device is 'meta'"),
        ({"train__device": "cuda:99"}, "PyTorch sees"),
    ):
        with pytest.raises(UserError, match=says):
            train(config(home, **settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_data_set_that_changed_is_noticed(home: Path, tmp_path: Path) -> None:
    small_data(tmp_path / "d")
    run = train(config(tmp_path / "d"), tmp_path / "run")
    shutil.rmtree(tmp_path / "d")
    small_data(tmp_path / "d", pictures=32)
    with pytest.raises(UserError, match="has changed since"):
        evaluate(run)


def test_the_learning_rate_by_hand() -> None:
    options = TrainConfig(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(step, 10, options) for step in range(10)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == pytest.approx([0.5 * (1 + np.cos(np.pi * t / 9)) for t in range(1, 9)])
    assert 0 < rates[-1] < 0.05


def test_regions_and_frozen_features_are_what_importance_and_training_see(home: Path, tmp_path: Path) -> None:
    settings = {"model__image__trainable": False, "lifelong__strategy": "mas", "data__region": "box"}
    run = train(config(home, **settings), tmp_path / "run")
    saved = weights(run)
    assert not [name for name in saved if name.startswith("encoder.")]
    assert saved["feature_std"].min() > 0
    importance = load_file(run.task_folder(1) / "importance.safetensors")
    assert {name.split(".")[0] for name in importance} == {"trunk", "heads"}
    assert isinstance(evaluate(run)["average"], float)


def test_strategies_know_their_names() -> None:
    assert all(kind.name == name and issubclass(kind, Strategy) for name, kind in STRATEGIES.items())
