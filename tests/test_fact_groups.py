"""Kinds of facts: thirds by training count, seen and unseen, and facts as numbers."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from fact_strategies import FACTS
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_noise import labelled_noise
from small_run import small_run

from mas_triplets.data.items import Items
from mas_triplets.evaluation import fact_codes as codes_module
from mas_triplets.evaluation import fact_groups
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.fact_codes import fact_codes, find_facts
from mas_triplets.evaluation.fact_groups import SEEN, group_maps, seen_kinds, thirds, training_counts
from mas_triplets.evaluation.run import evaluate
from mas_triplets.facts import Fact


@settings(deadline=None)
@given(FACTS, FACTS)
def test_a_fact_is_found_by_its_words(facts: list[Fact], wanted: list[Fact]) -> None:
    codes = fact_codes([*facts, *wanted])
    found = find_facts(codes[: len(facts)], codes[len(facts) :])
    assert found.tolist() == [facts.index(fact) if fact in facts else -1 for fact in wanted]


def test_facts_of_no_facts() -> None:
    assert fact_codes([]).shape == (0, 3)
    assert find_facts(fact_codes([]), np.zeros((2, 3), dtype=np.int64)).tolist() == [-1, -1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=30), st.randoms())
def test_thirds_keep_equal_counts_together(counts: list[int], random: object) -> None:
    found = thirds(np.array(counts, dtype=np.int64)).tolist()
    by_count = dict(zip(counts, found, strict=True))
    assert [by_count[count] for count in counts] == found  # one third a count
    ranked = [by_count[count] for count in sorted(by_count, reverse=True)]
    assert ranked == sorted(ranked)  # more is never behind less
    assert set(found) <= {0, 1, 2}
    assert thirds(np.array(counts[::-1], dtype=np.int64)).tolist() == found[::-1]
    for count, third in by_count.items():  # the middle of the places, by a plain loop
        places = [place for place, other in enumerate(sorted(counts, reverse=True)) if other == count]
        assert third == int(3 * (places[0] + places[-1] + 1) / 2 / len(counts))


@pytest.mark.parametrize("size", [3, 6, 30])
def test_thirds_of_distinct_counts_are_even(size: int) -> None:
    assert np.bincount(thirds(np.arange(size))).tolist() == [size // 3] * 3


@settings(deadline=None)
@given(FACTS, st.data())
def test_seen_unseen_and_unknown_equal_a_plain_loop(facts: list[Fact], data: st.DataObject) -> None:
    trained = data.draw(st.lists(st.booleans(), min_size=len(facts), max_size=len(facts)))
    found = seen_kinds(fact_codes(facts), np.array(trained))
    learnt = [fact for fact, known in zip(facts, trained, strict=True) if known]
    for fact, known, kind in zip(facts, trained, found, strict=True):
        new = [w for k, w in enumerate(fact.slots) if w is not None and w not in [other.slots[k] for other in learnt]]
        assert SEEN[kind] == ("seen" if known else "unknown" if new else "unseen")


def test_training_counts_count_items_of_the_training_parts() -> None:
    items = Items(
        image=np.arange(4),
        box=np.full((4, 4), np.nan, dtype=np.float32),
        part=np.array([0, 0, 1, 2]),
        pair_item=np.array([0, 0, 1, 2, 3]),
        pair_fact=np.array([0, 2, 2, 2, 1]),
    )
    assert training_counts(items, ("train",), 4).tolist() == [1, 0, 2, 0]
    assert training_counts(items, ("train", "val"), 4).tolist() == [1, 0, 3, 0]


def test_a_group_without_facts_has_no_map() -> None:
    found = group_maps({"some": np.array([1]), "none": np.array([5])}, {1: 0.5, 2: 0.25}, {1: 1.0, 2: 0.5})
    assert found["some"] == {"map": 0.5, "own_task_map": 1.0, "facts": 1}
    assert found["none"] == {"map": None, "own_task_map": None, "facts": 0}


def test_groups_of_a_run(tmp_path: Path) -> None:
    """Of six facts, training shows two often, one twice, one once, two never; one of these has an unknown word."""
    often, twice, once = "<dog, run>", "<dog>", "<cat, sit>"
    unseen, unknown = "<cat, run>", "<horse>"
    shown = [("train", [often, "<cat>"])] * 4 + [("train", [twice])] * 2 + [("train", [once])]
    test = [("test", [fact]) for fact in (often, "<cat>", twice, once, unseen, unknown)]
    tasks = [[often, twice, unseen], ["<cat>", once, unknown]]
    dataset = labelled_noise(tmp_path, shown + test, tasks)
    run = small_run(tmp_path, data__unseen_facts="allow", lifelong__strategy="finetune")
    results = evaluate(run)
    groups = results["by_training_count"]
    assert groups["definition"] == definition("by_training_count")
    numbers = {name: [groups[name][key] for key in ("facts", "fewest", "most")] for name in ("head", "mid", "tail")}
    assert numbers == {"head": [2, 4, 4], "mid": [1, 2, 2], "tail": [1, 1, 1]}
    seen = results["by_seen"]
    assert {name: seen[name]["facts"] for name in SEEN} == {"seen": 4, "unseen": 1, "unknown": 1}

    matrices = results["matrices"]["fact_to_image"]
    parts = [*(groups[name] for name in ("head", "mid", "tail")), seen["unseen"], seen["unknown"]]
    for key, gallery in (("map", "generalized"), ("own_task_map", "standard")):
        over_all = sum(part[key] * part["facts"] for part in parts) / 6
        by_task = matrices[gallery]["reembedded"]["map"]["R"][-1]
        assert over_all == pytest.approx(sum(by_task) / 2)  # both tasks have three facts
        orders = [results["by_order"][order] for order in ("1", "2")]
        assert sum(part[key] * part["facts"] for part in orders) / 6 == pytest.approx(over_all)
    assert results["by_order"]["3"] == {"map": None, "own_task_map": None, "facts": 0}
    assert len(dataset.facts) == 6


@pytest.mark.parametrize("module", [fact_groups, codes_module])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
