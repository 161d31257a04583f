"""Heads in closed form: equal to scikit-learn's ridge regression, whatever the order of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_noise import labelled_noise
from lifelong_runs import config_of, facts_of, killed_after_saving, known_pairs, pixels_of, same, weights
from sklearn.linear_model import Ridge
from small_run import FACTS, small_config, small_data
from torch import Tensor
from toy_tasks import in_threads

from mas_triplets.config import LifelongConfig, make_config
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.evaluation.run import evaluate
from mas_triplets.facts import SLOTS
from mas_triplets.lifelong import Task
from mas_triplets.lifelong.analytic import Analytic, solution
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

SETTINGS: dict[str, Any] = {"lifelong__strategy": "analytic", "model__image__trainable": "none"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analytic")
    dataset = small_data(folder)
    write_split(dataset, make_split("one", "random", 0, {}, [np.arange(len(FACTS))]))
    return folder


def sums_of(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {"n": torch.tensor(float(len(x))).double(), "x": x.sum(0), "y": y.sum(0), "xx": x.T @ x, "xy": x.T @ y}


def test_one_feature_by_hand() -> None:
    x, y = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([[-2.0], [2.0]]).double()
    weight, bias = solution(sums_of(x, y), 1.0)
    assert (weight.item(), bias.item()) == (1.0, 0.0)
    weight, bias = solution(sums_of(3 * x + 5, y + 1), 1.0)  # scale and place of features and targets change nothing
    assert weight.item() == pytest.approx(1 / 3)
    assert (weight * 8 + bias).item() == pytest.approx(2.0)


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 10.0])
def test_equals_ridge_of_scikit_learn(ridge: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator).double() * torch.logspace(-3, 3, 6).double() + 2
    y = torch.randn(40, 3, generator=generator).double()
    weight, bias = solution(sums_of(x, y), ridge)
    spread = x.std(0, correction=0)
    reference = Ridge(alpha=ridge * len(x)).fit(((x - x.mean(0)) / spread).numpy(), y.numpy())
    torch.testing.assert_close(weight, torch.from_numpy(reference.coef_) / spread, rtol=1e-6, atol=1e-9)
    found = (x @ weight.T + bias).numpy()
    np.testing.assert_allclose(found, reference.predict(((x - x.mean(0)) / spread).numpy()), rtol=1e-6, atol=1e-8)


def test_an_infinite_ridge_gives_the_mean_target() -> None:
    x, y = torch.randn(9, 4).double(), torch.randn(9, 3).double()
    weight, bias = solution(sums_of(x, y), 1e12)
    assert float(weight.abs().max()) < 1e-9
    torch.testing.assert_close(bias, y.mean(0))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_a_constant_feature_weighs_nothing(value: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1001, 3, generator=generator).double() * scale
    y = torch.randn(1001, 2, generator=generator).double()
    constant = torch.full((len(x), 1), float(np.float32(value))).double()
    with_it, bias = solution(sums_of(torch.cat([x, constant], 1), y), 0.1)
    without, _ = solution(sums_of(x, y), 0.1)
    usual = x.std(0, correction=0).mean()
    if abs(value) <= 1e4 * scale:
        assert with_it[:, 3].tolist() == [0, 0]
    assert float(with_it[:, 3].abs().max()) * float(usual) < 1e-3
    torch.testing.assert_close(with_it[:, :3], without, rtol=1e-6, atol=1e-9)
    assert bool(torch.isfinite(bias).all())
    only, bias = solution(sums_of(constant, y), 0.1)
    assert only.abs().max() == 0
    torch.testing.assert_close(bias, y.mean(0))


def pairs_of(run: RunFolder, tasks: int) -> list[tuple[int, int]]:
    """All (picture, fact) pairs of the first tasks."""
    facts = [fact for task in range(1, tasks + 1) for fact in facts_of(run, task)]
    return [(image, fact) for image, found in sorted(known_pairs(run, facts).items()) for fact in sorted(found)]


@pytest.mark.parametrize("hidden", [[], [30]])
@pytest.mark.parametrize("residual", [False, True])
def test_a_run_equals_scikit_learn_pair_by_pair(home: Path, tmp_path: Path, hidden: list[int], residual: bool) -> None:
    """Several facts of a picture are so many rows. A trunk stays as it was drawn: a random expansion."""
    more = {"model__text__dim": 128, "model__residual": True} if residual else {}
    run = train(config_of(home, **SETTINGS, model__hidden=hidden, **more), tmp_path / "run")
    for task in (1, 2):
        model = run.load_model(task)
        pairs = pairs_of(run, task)
        with torch.no_grad():
            given = model.features(pixels_of(run, [image for image, _ in pairs]))
            features = model.hidden(given)[0].double()
        vectors, mask = model.language.embed([run.dataset().facts[fact] for _, fact in pairs])
        start = run.load_model(0).state_dict()
        for name, value in model.state_dict().items():
            assert name.startswith("heads") or torch.equal(value, start[name])
        for slot, name in enumerate(SLOTS):
            has = mask[:, slot] > 0
            x, y = features[has], vectors[has, slot].double()
            if residual:  # the head's output is added to the features
                y = y - given[has].double()
            spread = x.std(0, correction=0)
            scale = torch.where(spread > 1e-6 * x.mean(0).abs(), 1 / spread, 0)
            reference = Ridge(alpha=run.config.lifelong.ridge * len(x)).fit((x * scale).numpy(), y.numpy())
            head = model.heads[name]
            expected = torch.from_numpy(reference.coef_) * scale
            torch.testing.assert_close(head.weight.double(), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                head.bias.double(),
                torch.from_numpy(reference.intercept_),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("hidden", [[], [30]])
def test_task_after_task_is_all_at_once(home: Path, tmp_path: Path, hidden: list[int]) -> None:
    """The two tasks have the same pictures, so that features are standardised alike."""
    runs = [
        train(config_of(home, **SETTINGS, model__hidden=hidden, data__split=split), tmp_path / split)
        for split in ("two", "one")
    ]
    sequential, joint = weights(runs[0].path, 2), weights(runs[1].path, 1)
    for name, value in joint.items():
        torch.testing.assert_close(sequential[name], value, rtol=1e-6, atol=1e-6)
    assert not same(weights(runs[0].path, 1), sequential)


def test_the_order_of_tasks_does_not_matter(tmp_path: Path) -> None:
    """Features are standardised by another first task, so what is compared is what the model gives for the slot."""
    pictures = [("train", [f"<{letter}>", "<z>"]) for letter in "aabbc"] + [("test", ["<a>"])]
    found = []
    for name, tasks in (("there", (["<a>"], ["<b>", "<z>"], ["<c>"])), ("back", (["<b>", "<z>"], ["<c>"], ["<a>"]))):
        labelled_noise(tmp_path / name, pictures, tasks)
        run = train(config_of(tmp_path / name, **SETTINGS, model__hidden=[]), tmp_path / name / "run")
        model = run.load_model(3)
        with torch.no_grad():
            found.append(model(pixels_of(run, range(6)))[:, : model.dim])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_killed_before_the_task_is_looked_at_goes_on_to_the_same_bits(home: Path, tmp_path: Path) -> None:
    """The model is in eval mode then too: dropout would change the sums."""
    config = config_of(home, **SETTINGS, model__input_dropout=0.5)
    whole = train(config, tmp_path / "whole")
    for stage in (1, 2):
        with killed_after_saving((stage, 0, 1)):
            train(config, tmp_path / "stopped")
    stopped = train(config, tmp_path / "stopped")
    assert all(same(weights(whole.path, stage), weights(stopped.path, stage)) for stage in (1, 2))
    assert evaluate(whole) == evaluate(stopped)


def test_the_sums_are_as_large_as_is_told(home: Path, tmp_path: Path) -> None:
    run = train(make_config(small_config(home, **SETTINGS)), tmp_path / "run", until=1)
    model = run.load_model(1)
    analytic = Analytic(LifelongConfig(strategy="analytic"))
    before = weights(run.path, 1)
    told = analytic.after_task(model, Task(1, lambda: [], lambda: [], torch.empty(0, 3, model.dim), torch.empty(0, 3)))
    assert told == {}
    assert analytic.memory_bytes(model) == sum(value.nbytes for value in analytic.state_tensors().values())
    assert same(before, model.own_tensors())  # heads of slots that no pair has are left as they are


def test_two_processes_sum_as_one(home: Path, tmp_path: Path) -> None:
    run = train(config_of(home, **SETTINGS), tmp_path / "run", until=1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (9, 16, 16, 3), generator=generator, dtype=torch.uint8)
    relevance = (torch.rand(9, 6, generator=generator) < 0.5).float()
    models = [run.load_model(1) for _ in range(3)]
    vectors, mask = models[0].language.embed(run.dataset().facts)

    def learn(rank: int, processes: int, combine: Any, model: TripletModel) -> dict[str, Tensor]:
        analytic = Analytic(LifelongConfig(strategy="analytic"))
        analytic.join(rank, processes, combine, 0)
        share = [(x[rank::processes], relevance[rank::processes])]
        for number in (1, 2):
            analytic.after_task(model, Task(number, lambda: [], lambda: share, vectors, mask))
        return model.own_tensors()

    alone = learn(0, 1, None, models[2])
    first, second = in_threads(2, lambda rank, combine: learn(rank, 2, combine, models[rank]))
    assert same(first, second)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
