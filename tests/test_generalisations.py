"""Generalisations as right answers: which facts, which pictures, and the ranks that follow."""

from __future__ import annotations

import dataclasses
import doctest

import numpy as np
import pytest
import torch
from fact_strategies import FACTS
from hypothesis import given, settings
from hypothesis import strategies as st

from mas_triplets.data.items import Items
from mas_triplets.evaluation import generalisations as module
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.fact_codes import fact_codes
from mas_triplets.evaluation.generalisations import generalisations, with_generalisations
from mas_triplets.evaluation.protocol import rank
from mas_triplets.facts import Fact


def shows(count: int, pairs: list[tuple[int, int]]) -> Items:
    item, fact = np.array(sorted(set(pairs)), dtype=np.int64).reshape(-1, 2).T
    return Items(np.arange(count), np.full((count, 4), np.nan, np.float32), np.full(count, 2), item, fact)


@settings(deadline=None)
@given(FACTS)
def test_generalisations_are_the_facts_that_cover_it(facts: list[Fact]) -> None:
    found = generalisations(fact_codes(facts))
    for fact, parents in zip(facts, found, strict=True):
        expected = {k for k, other in enumerate(facts) if other != fact and other.covers(fact)}
        assert set(parents[parents >= 0].tolist()) == expected


@settings(deadline=None)
@given(FACTS, st.data())
def test_items_get_the_generalisations_of_their_facts(facts: list[Fact], data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, 4), st.integers(0, len(facts) - 1))
    items = shows(5, data.draw(st.lists(pair, max_size=12)))
    found = with_generalisations(items, fact_codes(facts))
    pairs = list(zip(items.pair_item.tolist(), items.pair_fact.tolist(), strict=True))
    expected = sorted({(i, k) for i, f in pairs for k, other in enumerate(facts) if other.covers(facts[f])})
    assert list(zip(found.pair_item.tolist(), found.pair_fact.tolist(), strict=True)) == expected
    assert (found is items) == (expected == pairs)
    assert with_generalisations(found, fact_codes(facts)) is found


def question(items: Items, facts: list[Fact]) -> Benchmark:
    """Facts have scores by place: the vector of each is an axis, so a picture's embedding says its scores."""
    vectors = torch.zeros(len(facts), 3, len(facts))
    vectors[:, 0] = torch.eye(len(facts))
    mask = torch.tensor([[1.0, 0, 0]]).repeat(len(facts), 1)
    generalised = with_generalisations(items, fact_codes(facts))
    return Benchmark(items, generalised, ("test",), (np.arange(len(facts)),), vectors, mask, "cosine")


def test_a_generalisation_is_right_by_hand() -> None:
    """The picture shows the last fact; ranked are <dog>, <person>, <person, ride>, <person, ride, horse>."""
    facts = [Fact("dog"), Fact("person"), Fact("person", "ride"), Fact("person", "ride", "horse")]
    asked = question(shows(1, [(0, 3)]), facts)
    embedding = torch.zeros(1, 12)
    embedding[0, :4] = torch.tensor([4.0, 3, 2, 1])
    ranked = rank(asked, embedding, np.array([0]), np.arange(4)).queries
    assert ranked["image_to_fact"]["rr"].tolist() == [1 / 4]
    assert ranked["image_to_fact_generalised"]["rr"].tolist() == [1 / 2]
    assert ranked["image_to_fact_generalised"]["hit@1"].tolist() == [0]
    assert ranked["image_to_fact_generalised"]["hit@5"].tolist() == [1]
    # of a gallery without <person> and <person, ride>, nothing else is right
    ranked = rank(asked, embedding, np.array([0]), np.array([0, 3])).queries
    assert ranked["image_to_fact_generalised"]["rr"].tolist() == [1 / 2]
    # a picture whose own fact is not in the gallery has no right answer, but its generalisation is one
    ranked = rank(asked, embedding, np.array([0]), np.array([0, 1])).queries
    assert ranked["image_to_fact"]["rr"].isnan().all()
    assert ranked["image_to_fact_generalised"]["rr"].tolist() == [1 / 2]


def test_without_pictures_means_without_them_in_both() -> None:
    facts = [Fact("person"), Fact("person", "ride")]
    asked = question(shows(3, [(0, 1), (1, 1), (2, 0)]), facts)
    assert asked.items_of_tasks([0]).tolist() == [0, 1, 2]
    left = asked.without([1])
    assert left.items_of_tasks([0]).tolist() == [0, 2]
    assert left.generalised.select(("test",), np.array([0])).tolist() == [0, 2]
    alike = dataclasses.replace(asked, generalised=asked.items).without([1])
    assert alike.generalised is alike.items


@pytest.mark.parametrize("limit", [8, 8 * 30])
def test_chunks_of_scores_change_nothing(limit: int) -> None:
    generator = np.random.default_rng(0)
    facts = [Fact("a"), Fact("a", "b"), Fact("c"), Fact("c", "b", "a"), Fact("d")]
    pairs = [(int(i), int(f)) for i, f in generator.integers(0, (30, 5), (50, 2))]
    asked = question(shows(30, pairs), facts)
    embedding = torch.randn(30, 15, generator=torch.Generator().manual_seed(0)).round()
    whole = rank(asked, embedding, np.arange(30), np.arange(5))
    pieces = rank(asked, embedding, np.arange(30), np.arange(5), memory_bytes=limit)
    for direction, metrics in whole.queries.items():
        for name, values in metrics.items():
            torch.testing.assert_close(pieces.queries[direction][name], values, equal_nan=True, rtol=0, atol=1e-12)
    for direction, values in whole.per_fact.items():
        torch.testing.assert_close(pieces.per_fact[direction], values, equal_nan=True, rtol=0, atol=1e-12)
    hits = whole.queries["image_to_fact"]["hit@1"]
    for fact in range(5):
        of_fact = hits[torch.tensor([item for item, shown in sorted(set(pairs)) if shown == fact])]
        assert float(whole.per_fact["image_to_fact"][fact]) == pytest.approx(float(of_fact.mean()))


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
