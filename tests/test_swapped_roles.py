"""Swapped roles: pairs of facts, the pictures that count, and the mean, by hand and against a plain loop."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_noise import labelled_noise
from small_run import small_run

from mas_triplets.data.items import Items, items_of
from mas_triplets.evaluation import swapped_roles
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.fact_codes import fact_codes
from mas_triplets.evaluation.run import evaluate
from mas_triplets.evaluation.swapped_roles import swapped_accuracy, swapped_facts, swapped_record
from mas_triplets.facts import Fact
from mas_triplets.model.inputs import item_inputs

CHASES = [Fact("dog", "chase", "cat"), Fact("cat", "chase", "dog")]


def test_which_facts_are_swapped() -> None:
    facts = [Fact("dog"), Fact("dog", "chase"), *CHASES, Fact("cat", "see", "dog"), Fact("cat", "chase", "cat")]
    assert swapped_facts(fact_codes(facts)).tolist() == [-1, -1, 3, 2, -1, -1]
    assert swapped_facts(fact_codes([Fact("dog", "chase", "dog")])).tolist() == [-1]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))))
def test_the_mean_equals_a_plain_loop(pictures: list[tuple[int, float, float]]) -> None:
    swap = [1, 0, 3, 2]
    of_fact: dict[int, list[float]] = {}
    for fact, right, swapped in pictures:
        of_fact.setdefault(fact, []).append(1.0 if right > swapped else 0.5 if right == swapped else 0.0)
    of_pair: dict[int, list[float]] = {}
    for fact, wins in of_fact.items():
        of_pair.setdefault(min(fact, swap[fact]), []).append(sum(wins) / len(wins))
    expected = sum(sum(v) / len(v) for v in of_pair.values()) / len(of_pair) if of_pair else None
    asked = np.array([fact for fact, _, _ in pictures], dtype=np.int64)
    scores = torch.tensor([[right, swapped] for _, right, swapped in pictures]).reshape(-1, 2)
    found, pairs = swapped_accuracy(scores[:, 0], scores[:, 1], asked, np.array(swap))
    assert found == (None if expected is None else pytest.approx(expected))
    assert pairs == len(of_pair)


def benchmark(score: str, shown: list[tuple[int, int]], items: int, tasks: list[list[int]]) -> Benchmark:
    """Facts are <dog, chase, cat>, <cat, chase, dog> and <dog>; words are axes: dog x, cat y, chase z."""
    dog, cat, chase, none = torch.eye(3)[0], torch.eye(3)[1], torch.eye(3)[2], torch.zeros(3)
    vectors = torch.stack([torch.stack(f) for f in ((dog, chase, cat), (cat, chase, dog), (dog, none, none))])
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 0, 0]])
    pairs = np.array(sorted(shown)).T
    labels = Items(np.arange(items), np.full((items, 4), np.nan, np.float32), np.full(items, 2), pairs[0], pairs[1])
    return Benchmark(labels, labels, ("test",), tuple(np.array(task) for task in tasks), vectors, mask, score)


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_a_record_by_hand(score: str) -> None:
    """Pictures 0 to 3 show the first fact, 4 the second, 5 both, 6 another; the model says that a dog chases a cat."""
    asked = benchmark(score, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 0), (5, 1), (6, 2)], 7, [[0, 2], [1]])
    codes = fact_codes([*CHASES, Fact("dog")])
    axes = torch.eye(3)
    says = torch.cat([axes[0], axes[2], axes[1]])
    embedding = says.repeat(7, 1)
    embedding[3] = torch.cat([axes[2], axes[2], axes[2]])  # cannot tell: one half
    record = swapped_record(asked, codes, embedding, np.arange(7), [0, 1])
    # of the first fact (1 + 1 + 1 + 1/2) / 4, of the second 0, mean 7/16
    assert record == {"definition": definition("swapped_roles"), "accuracy": 7 / 16, "pairs": 1, "images": 5}
    assert swapped_record(asked, codes, embedding, np.arange(7), [0]) is None  # the second fact is not learnt yet


def test_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = benchmark("cosine", [(item, item % 2) for item in range(40)], 40, [[0, 1, 2]])
    embedding = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    codes = fact_codes([*CHASES, Fact("dog")])
    whole = swapped_record(asked, codes, embedding, np.arange(40), [0])
    assert whole is not None
    assert 0 < whole["accuracy"] < 1
    monkeypatch.setattr(swapped_roles, "_BYTES", 8 * 12 * 7)
    assert swapped_record(asked, codes, embedding, np.arange(40), [0]) == whole


def test_a_run_reports_them(tmp_path: Path) -> None:
    facts = [str(fact) for fact in CHASES]
    pictures = [(part, [facts[k % 2]]) for part in ("train", "test") for k in range(6)]
    labelled_noise(tmp_path, pictures, [[facts[0]], [facts[1]]])
    run = small_run(tmp_path, lifelong__strategy="finetune")
    found = evaluate(run)["swapped_roles"]
    assert (found["pairs"], found["images"]) == (1, 6)
    dataset, model = run.dataset(), run.load_model()
    inputs = item_inputs(model, dataset, items_of(dataset, "image"), run.config)
    with torch.no_grad():
        scores = torch.cat([model.score(model(batch), CHASES) for batch in inputs.inputs(np.arange(6, 12))])
    wins = [float(scores[k, k % 2] > scores[k, 1 - k % 2]) for k in range(6)]
    assert found["accuracy"] == pytest.approx((sum(wins[::2]) / 3 + sum(wins[1::2]) / 3) / 2)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(swapped_roles)
    assert result.attempted > 0
    assert result.failed == 0
