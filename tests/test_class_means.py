"""Class means: sums of features, which no order of tasks can change."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lifelong_runs import config_of, facts_of, known_pairs, pixels_of
from safetensors.torch import load_file
from small_run import small_data

from mas_triplets.config import LifelongConfig
from mas_triplets.data.items import items_of
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import make_strategy
from mas_triplets.lifelong.class_means import ClassMeans
from mas_triplets.retrieval.build import build_index
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder


def test_by_hand() -> None:
    """Two pictures of fact 7, one of fact 8; fact 9 has none."""
    means = ClassMeans(LifelongConfig(strategy="class-means"))
    assert means.fact_vectors() == {}
    means.load_state_tensors(
        {
            "fact_ids": torch.tensor([7, 8, 9]),
            "sums": torch.tensor([[2.0, 6.0, 2.0], [5.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).double(),
            "centre": torch.tensor([7.0, 6.0, 3.0]).double(),
        }
    )
    found = means.fact_vectors()
    assert found["fact_ids"].tolist() == [7, 8]
    assert found["vectors"].tolist() == [[1, 3], [5, 0]]
    torch.testing.assert_close(found["centre"], torch.tensor([7 / 3, 2]))


def test_a_run_equals_a_plain_loop(tmp_path: Path) -> None:
    small_data(tmp_path)
    settings = {"lifelong__strategy": "class-means", "model__image__trainable": "none", "model__input_dropout": 0.5}
    run = train(config_of(tmp_path, **settings), tmp_path / "run")
    state = load_file(sorted((run.path / "checkpoint").iterdir())[-1] / "tensors.safetensors")
    means = ClassMeans(run.config.lifelong)
    means.load_state_tensors(
        {name.removeprefix("strategy/"): value for name, value in state.items() if name.startswith("strategy/")}
    )
    found = means.fact_vectors()
    facts = sorted([*facts_of(run, 1), *facts_of(run, 2)])
    pairs = known_pairs(run, facts)
    images, model = sorted(pairs), run.load_model(2)
    with torch.no_grad():
        features = dict(zip(images, model.features(pixels_of(run, images)).double(), strict=True))
    assert found["fact_ids"].tolist() == facts
    for fact, vector in zip(facts, found["vectors"], strict=True):
        own = [features[image] for image in images if fact in pairs[image]]
        torch.testing.assert_close(vector.double(), torch.stack(own).mean(0), rtol=1e-5, atol=1e-6)
    every = torch.stack([features[image] for image in images for _ in pairs[image]])
    torch.testing.assert_close(found["centre"].double(), every.mean(0), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class_means")
    dataset = small_data(folder)
    facts = np.arange(len(dataset.facts))
    write_split(dataset, make_split("one", "random", 0, {}, [facts]))
    write_split(dataset, make_split("reversed", "random", 0, {}, [facts[3:], facts[:3]]))
    return folder


def run_on(home: Path, split: str) -> RunFolder:
    settings = {"lifelong__strategy": "class-means", "model__image__trainable": "none", "data__split": split}
    return train(config_of(home, **settings), home / split / "run")


def test_the_order_of_tasks_makes_no_difference(home: Path) -> None:
    wanted = run_on(home, "one").fact_vectors(1)
    for split in ("two", "reversed"):
        found = run_on(home, split).fact_vectors(2)
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            torch.testing.assert_close(found[name], values, rtol=1e-6, atol=1e-6)


def test_scores_are_cosines_of_centred_features(home: Path) -> None:
    """All-facts mAP again, with a plain loop over facts."""
    run = run_on(home, "two")
    results, held, items = evaluate(run), run.fact_vectors(2), items_of(run.dataset(), "image")
    gallery = items.select(("test",), held["fact_ids"].numpy())
    with torch.no_grad():
        centred = run.load_model().features(pixels_of(run, gallery.tolist())) - held["centre"]
    precisions = []
    for fact, vector in enumerate(held["vectors"]):
        score = torch.cosine_similarity(centred, (vector - held["centre"])[None]).numpy()
        right = np.isin(gallery, items.select(("test",), np.array([fact])))
        ranks = np.flatnonzero(right[np.argsort(-score, kind="stable")]) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    assert results["all"] == pytest.approx(np.mean(precisions), abs=1e-6)


def test_an_index_of_class_means_ranks_as_evaluation_does(home: Path, tmp_path: Path) -> None:
    run = run_on(home, "two")
    index = build_index(run, tmp_path / "index")
    held, facts = run.fact_vectors(2), run.dataset().facts
    with torch.no_grad():
        centred = run.load_model().features(pixels_of(run, range(len(index)))) - held["centre"]
    for row, fact in enumerate(held["fact_ids"].tolist()):
        wanted = torch.cosine_similarity(centred, (held["vectors"][row] - held["centre"])[None]).double().numpy()
        hits = index.search(facts[fact], len(index))
        np.testing.assert_allclose([hit.score for hit in hits], wanted[[hit.row for hit in hits]], atol=1e-6)
        assert [hit.slots for hit in hits] == [{"fact": hit.score} for hit in hits]
        assert np.all(np.diff([hit.score for hit in hits]) <= 0)


def test_a_wild_card_asks_for_the_mean_over_the_pairs_that_fit(home: Path, tmp_path: Path) -> None:
    run = run_on(home, "two")
    index = build_index(run, tmp_path / "index")
    chasing = [number for number, fact in enumerate(run.dataset().facts) if fact.predicate == "chase"]
    fitting = [picture for picture, shown in known_pairs(run, chasing).items() for _ in shown]
    with torch.no_grad():
        features = run.load_model().features(pixels_of(run, range(len(index))))
    centre = run.fact_vectors(2)["centre"]
    wanted = torch.cosine_similarity(features - centre, (features[fitting].mean(0) - centre)[None])
    hits = index.search("<*, chase, *>", len(index))
    np.testing.assert_allclose([hit.score for hit in hits], wanted[[hit.row for hit in hits]], atol=1e-5)


def test_a_picture_is_asked_for_the_facts_seen_and_no_others(home: Path, tmp_path: Path) -> None:
    index = build_index(run_on(home, "two"), tmp_path / "index")
    found = index.facts_of(index.rows["image"][0].as_py(), 100)
    seen = {index.facts[fact] for fact in index.run.fact_vectors(2)["fact_ids"].tolist()}
    assert {hit.fact for hits in found.values() for hit in hits} == seen
    with pytest.raises(UserError, match=r"no picture of <horse, ride> was learnt from, .* such as <person, ride>"):
        index.search("<horse, ride, *>")


def test_means_of_another_task_are_another_model(home: Path) -> None:
    run = run_on(home, "two")
    assert run.model_fingerprint(1) != run.model_fingerprint(2)


def test_without_its_data_set_a_run_of_class_means_has_no_index(home: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run_on(home, "two").path, tmp_path / "run"))
    text = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(text.replace(str(home / "data"), str(tmp_path / "gone")))
    with pytest.raises(UserError, match=r"know facts by their number in the data set, and .*gone cannot be read"):
        build_index(RunFolder(moved), tmp_path / "index", home / "pictures")
    assert not (tmp_path / "index").exists()


def test_it_cannot_be_joined() -> None:
    with pytest.raises(UserError, match="'class-means' cannot be joined"):
        make_strategy(LifelongConfig(strategy="class-means+lwf"))
