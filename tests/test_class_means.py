"""Class means: sums of features, which no order of tasks can change."""

from __future__ import annotations

from pathlib import Path

import torch
from lifelong_runs import config_of, facts_of, known_pairs, pixels_of
from safetensors.torch import load_file
from small_run import small_data

from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong.class_means import ClassMeans
from mas_triplets.training.run import train


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
