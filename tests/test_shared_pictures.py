"""Tasks that share no picture: each picture is learnt from in one task, with that task's facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import small_config, small_data

from mas_triplets.config import make_config
from mas_triplets.data.items import Items
from mas_triplets.data.splits import read_split
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.training.run import train
from mas_triplets.training.stages import check_training_items, training_items

TRAIN, TEST = 0, 2
TASKS = [np.array([0, 2]), np.array([1]), np.array([4])]


def items(part: list[int], pairs: list[tuple[int, int]]) -> Items:
    item, fact = np.array(sorted(set(pairs))).reshape(-1, 2).T
    count = len(part)
    return Items(np.arange(count), np.full((count, 4), np.nan, np.float32), np.array(part), item, fact)


def pairs_of(found: Items) -> set[tuple[int, int]]:
    return set(zip(found.pair_item.tolist(), found.pair_fact.tolist(), strict=True))


def test_by_hand() -> None:
    given_items = items([TRAIN, TRAIN, TEST], [(0, 0), (0, 2), (1, 0), (1, 1), (1, 3), (2, 0), (2, 1)])
    dealt = pairs_of(given_items.in_one_task(TASKS, ("train",), 0))
    assert {(0, 0), (0, 2)} <= dealt, "both are of the first task"
    assert {(2, 0), (2, 1)} <= dealt, "test pictures are as they were"
    assert (1, 3) in dealt, "a fact of no task is as it was"
    assert len({(1, 0), (1, 1)} & dealt) == 1, "one task has the picture"


def test_tasks_are_drawn_alike() -> None:
    many = items([TRAIN] * 3000, [(item, fact) for item in range(3000) for fact in (0, 1, 2, 4)])
    dealt = many.in_one_task(TASKS, ("train",), 7)
    share = np.bincount(dealt.pair_fact, minlength=5)
    assert share[0] == share[2], "facts of one task go together"
    np.testing.assert_allclose(share[[0, 1, 4]], 1000, atol=110)  # four standard deviations


@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30),
    part=st.lists(st.sampled_from([TRAIN, TEST, -1]), min_size=6, max_size=6),
    seed=st.integers(0, 99),
)
def test_every_taught_picture_keeps_exactly_one_task(pairs: list[tuple[int, int]], part: list[int], seed: int) -> None:
    before = items(part, pairs)
    after = pairs_of(before.in_one_task(TASKS, ("train",), seed))
    assert after <= pairs_of(before)
    assert after == pairs_of(before.in_one_task(TASKS, ("train",), seed)), "the same seed deals the same"
    for item in range(6):
        mine = {fact for one, fact in pairs_of(before) if one == item}
        kept = {fact for one, fact in after if one == item}
        tasks = [set(task.tolist()) & mine for task in TASKS if set(task.tolist()) & mine]
        if part[item] != TRAIN or not tasks:
            assert kept == mine
        else:
            assert kept in [task | (mine - set().union(*tasks)) for task in tasks]


def test_a_run_learns_each_picture_in_one_task(tmp_path: Path) -> None:
    dataset = small_data(tmp_path)
    split = read_split(dataset, "two")
    facts = [np.array(task.fact_ids) for task in split.tasks]
    shared = make_config(small_config(tmp_path))
    apart = make_config(small_config(tmp_path, data__shared_pictures=False))
    both = [set(training_items(shared, dataset, split).select(("train",), task)) for task in facts]
    one = [set(training_items(apart, dataset, split).select(("train",), task)) for task in facts]
    assert both[0] & both[1]
    assert not one[0] & one[1]
    assert one[0] | one[1] == both[0] | both[1]
    counts = evaluate(train(apart, tmp_path / "apart"))["by_training_count"]
    assert counts != evaluate(train(shared, tmp_path / "shared"))["by_training_count"]


def test_a_fact_that_is_left_without_a_picture_is_told_with_the_reason(tmp_path: Path) -> None:
    dataset = small_data(tmp_path, pictures=2)
    config = make_config(small_config(tmp_path, data__shared_pictures=False))
    split = read_split(dataset, "two")
    with pytest.raises(UserError, match=r"learnt from in one task \(data\.shared_pictures=false\)"):
        check_training_items(config, dataset, training_items(config, dataset, split), split)
