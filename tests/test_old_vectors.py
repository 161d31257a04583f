"""Galleries that keep old vectors, the random control, and drift."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from torch import Tensor

from mas_triplets.evaluation import drift, old_vectors
from mas_triplets.evaluation.drift import drift_record, drift_row, slot_drift
from mas_triplets.evaluation.old_vectors import OldVectors, switches


def stage_vectors(stage: int, items: int) -> Tensor:
    return torch.full((items, 6), float(stage))


def after(stages: int, items: int, seed: int = 0) -> OldVectors:
    """Picture k belongs to task 1 + k mod `stages`; its vectors are the number of the stage that gave them."""
    task = 1 + np.arange(items) % stages
    old = OldVectors.none_yet(stage_vectors(0, items))
    for stage in range(1, stages + 1):
        old = old.after(stage_vectors(stage, items), task <= stage, switches(seed, stage, items))
    return old


def test_kept_vectors_are_of_the_stage_that_learnt_the_task() -> None:
    old = after(3, 6)
    assert old.kept[:, 0].tolist() == [1, 2, 3, 1, 2, 3]
    assert old.known.all()


def test_random_vectors_by_hand() -> None:
    old = OldVectors.none_yet(stage_vectors(0, 3))
    nothing = np.zeros(3, dtype=bool)
    for stage, switch in ((1, [1, 1, 1]), (2, [0, 1, 1]), (3, [0, 0, 1])):
        old = old.after(stage_vectors(stage, 3), nothing, np.array(switch, dtype=bool))
    assert old.kept_random[:, 0].tolist() == [1, 2, 3]
    assert not old.kept.any()  # no task of theirs was learnt


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_every_version_is_as_likely_whatever_the_task(stages: int) -> None:
    items = 6000 * stages
    version = after(stages, items).kept_random[:, 0].numpy().astype(int) - 1
    task = np.arange(items) % stages
    counts = np.bincount(task * stages + version, minlength=stages * stages)
    expected = items / stages**2
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_the_same_seed_draws_the_same() -> None:
    assert torch.equal(after(4, 100).kept_random, after(4, 100).kept_random)
    assert not torch.equal(after(4, 100).kept_random, after(4, 100, seed=1).kept_random)
    assert np.array_equal(
        switches(3, 2, 50), switches(3, 2, 80)[:50]
    )  # an item's draw does not hang on those behind it
    assert switches(0, 1, 1000).all()


def test_pictures_that_vanish_take_their_vectors_along() -> None:
    old, rows = after(3, 6), np.array([1, 2, 5])
    assert old.only(rows).kept[:, 0].tolist() == [2, 3, 3]
    assert torch.equal(old.only(rows).kept_random, old.kept_random[[1, 2, 5]])


def test_drift_equals_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(20, 12, generator=generator), torch.randn(20, 12, generator=generator)
    expected = [
        1 - np.mean([torch.cosine_similarity(a[k : k + 4], b[k : k + 4], dim=0) for k in (0, 4, 8)])
        for a, b in zip(one.double(), two.double(), strict=True)
    ]
    np.testing.assert_allclose(slot_drift(one, two).numpy(), expected, atol=1e-12)
    assert torch.equal(slot_drift(one, two), slot_drift(two, one))
    assert (slot_drift(one, one) == 0).all()  # exactly
    assert slot_drift(one, -one).numpy() == pytest.approx(2)
    assert slot_drift(one, 3 * one).numpy() == pytest.approx(0, abs=1e-12)


def test_slots_of_length_zero_are_numbers() -> None:
    assert slot_drift(torch.zeros(1, 6), torch.zeros(1, 6)).tolist() == [0]
    assert slot_drift(torch.zeros(1, 6), torch.ones(1, 6)).tolist() == pytest.approx([0.5])


def test_a_row_of_drift_is_the_mean_over_the_pictures_of_each_task() -> None:
    kept = torch.tensor([[1.0, 0] * 3, [1.0, 0] * 3, [1.0, 0] * 3])
    present = torch.tensor([[1.0, 0] * 3, [0.0, 1] * 3, [-1.0, 0] * 3])  # drifts 0, 1, 2
    rows = [np.array([0, 1]), np.array([1, 2]), np.array([], dtype=np.int64), None]
    assert drift_row(kept, present, rows) == [0.5, 1.5, None, None]


def test_the_average_drift_leaves_out_the_last_task() -> None:
    matrix: list[list[float | None]] = [[0.0, None, None], [0.5, 0.0, None], [0.75, 0.25, 0.125]]
    assert drift_record(matrix)["average"] == 0.5
    assert drift_record([[0.0]])["average"] is None
    assert drift_record([[0.0, None], [None, None]])["average"] is None  # not finished


@pytest.mark.parametrize("module", [drift, old_vectors])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
