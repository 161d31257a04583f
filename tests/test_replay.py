"""Replay: what the reservoir keeps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelong_runs import ONE_BATCH, config_of, euclidean, facts_of, known_pairs, pixels_of
from safetensors.torch import load_file
from scipy import stats
from small_run import small_data
from torch import nn
from toy_tasks import in_threads, method, toy_task

from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy, Task
from mas_triplets.lifelong.replay import highest
from mas_triplets.training.run import train

NET = nn.Linear(1, 1)


def pairs_task(number: int, count: int, facts: int = 1) -> Task:
    """A task of `count` pairs, each of another picture of 8 numbers."""
    item = 1000 * number + np.arange(count)
    fact = 10 * number + np.arange(count) % facts
    return Task(number, lambda: [torch.zeros(2, 8)], pair_item=item, pair_fact=fact)


def held(strategy: Strategy) -> list[tuple[int, int]]:
    stored = strategy.rehearsed()
    return [] if stored is None else list(zip(*(column.tolist() for column in stored), strict=True))


def test_the_reservoir_is_a_uniform_sample_of_all_pairs_seen() -> None:
    """Over 500 seeds each of 60 pairs of three tasks is kept by a fifth of them, as binomial counts are."""
    runs, sizes, kept = 500, (10, 20, 30), 12
    seen: dict[int, int] = {}
    for seed in range(runs):
        replay = method("replay", memory={"pairs": kept})
        replay.join(0, 1, None, seed)
        for number, size in enumerate(sizes, 1):
            replay.after_task(NET, pairs_task(number, size))
        assert len(held(replay)) == kept
        for item, _ in held(replay):
            seen[item] = seen.get(item, 0) + 1
    assert len(seen) == sum(sizes)
    counts = np.array(list(seen.values()))
    share = kept / sum(sizes)
    spread = np.sqrt(runs * share * (1 - share))
    assert np.abs(counts - runs * share).max() < 5 * spread  # by chance in one of 30,000 choices of seeds
    # a sample of fixed size makes the sum of squares chi-square with one degree less, times 60 / 59
    statistic = ((counts - runs * share) ** 2).sum() / spread**2 * (len(counts) - 1) / len(counts)
    assert 1e-5 < stats.chi2.cdf(statistic, len(counts) - 1) < 1 - 1e-5


def test_pairs_are_kept_or_given_up_for_good() -> None:
    replay = method("replay", memory={"pairs": 6})
    replay.after_task(NET, pairs_task(1, 10))
    first = set(held(replay))
    replay.after_task(NET, pairs_task(2, 10))
    assert {pair for pair in held(replay) if pair[0] < 2000} <= first
    assert len(held(replay)) == 6


def test_a_bound_for_each_fact() -> None:
    replay = method("replay", memory={"per_fact": 3})
    replay.after_task(NET, pairs_task(1, 10, facts=3))  # 4, 3 and 3 pairs
    replay.after_task(NET, pairs_task(2, 3, facts=2))  # 2 and 1
    _, counts = np.unique([fact for _, fact in held(replay)], return_counts=True)
    assert counts.tolist() == [3, 3, 3, 2, 1]
    replay = method("replay")
    replay.after_task(NET, pairs_task(1, 30, facts=2))
    assert len(held(replay)) == 10  # without a bound in the configuration: five of each


def test_a_bound_in_bytes_and_what_is_told() -> None:
    replay = method("replay", memory={"bytes": 8 * 4 * 5 + 31})
    told = replay.after_task(NET, pairs_task(1, 20))
    assert told == {"memory": {"pairs": 5, "pictures": 5, "bytes": 160}}
    with pytest.raises(UserError, match="bytes is 31, but one picture takes 32"):
        method("replay", memory={"bytes": 31}).after_task(NET, pairs_task(1, 20))
    twice = dataclasses.replace(pairs_task(1, 4), pair_item=np.array([7, 7, 8, 8]), pair_fact=np.array([1, 2, 1, 2]))
    told = method("replay", memory={"pairs": 9}).after_task(NET, twice)
    assert told == {"memory": {"pairs": 4, "pictures": 2, "bytes": 64}}  # a picture is stored once


def test_bounds_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="set one of pairs, per_fact and bytes"):
        method("replay", memory={"pairs": 3, "bytes": 100})


def test_state_survives_and_goes_on_alike() -> None:
    first, again = (method("replay", memory={"pairs": 6}) for _ in range(2))
    assert first.state_tensors() == {}
    first.after_task(NET, pairs_task(1, 10))
    again.load_state_tensors({name: value.clone() for name, value in first.state_tensors().items()})
    for replay in (first, again):
        replay.after_task(NET, pairs_task(2, 10))
    assert held(first) == held(again)


def test_a_process_without_pictures_keeps_the_same_pairs() -> None:
    task = toy_task()

    def stored(rank: int, combine: Any) -> Any:
        replay = method("replay", memory={"pairs": 3})
        replay.join(rank, 3, combine, 0)
        share = [] if rank else [torch.zeros(1, 8)]
        told = replay.after_task(NET, dataclasses.replace(task, inputs=lambda: share))
        return held(replay), told

    found = in_threads(3, stored)
    assert found[0] == found[1] == found[2]
    assert found[0][1]["memory"]["bytes"] == 32 * found[0][1]["memory"]["pictures"] > 0


def test_a_task_of_which_nothing_can_be_read_stores_nothing() -> None:
    replay = method("replay")
    assert replay.after_task(NET, dataclasses.replace(toy_task(), inputs=lambda: [])) == {}
    assert replay.rehearsed() is None


def plain_highest(key: list[float], fact: list[int], most: int | None, each: int | None) -> Iterator[int]:
    for place, (own, mine) in enumerate(zip(key, fact, strict=True)):
        above = sum(other > own for other in key)
        above_of_fact = sum(other > own and theirs == mine for other, theirs in zip(key, fact, strict=True))
        if (most is None or above < most) if each is None else above_of_fact < each:
            yield place


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), max_size=25, unique_by=lambda pair: pair[0]),
    st.integers(1, 9),
    st.booleans(),
)
def test_highest_equals_a_plain_loop(pairs: list[tuple[float, int]], bound: int, of_each: bool) -> None:
    key, fact = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    bounds = (None, bound) if of_each else (bound, None)
    found = highest(np.array(key), np.array(fact, dtype=np.int64), *bounds)
    assert found.tolist() == list(plain_highest(key, fact, *bounds))


def test_a_run_equals_a_plain_loop_and_tells_its_storage(tmp_path: Path) -> None:
    small_data(tmp_path)
    wanted = {**ONE_BATCH, "lifelong__memory": {"per_fact": 2, "share": 4.0}, "train__epochs": 3}
    config = config_of(tmp_path, lifelong__strategy="replay", **wanted)
    run = train(config, tmp_path / "run", until=1)
    memory = json.loads((run.task_folder(1) / "memory.json").read_text())
    stored = load_file(sorted((run.path / "checkpoint").iterdir())[-1] / "tensors.safetensors")
    item, fact = (stored[f"strategy/{name}"].tolist() for name in ("item", "fact"))
    assert sorted(fact) == sorted(2 * facts_of(run, 1))
    assert memory == {"pairs": 6, "pictures": len(set(item)), "bytes": len(set(item)) * 16 * 16 * 3}
    before = known_pairs(run, facts_of(run, 1))
    assert all(one in before[picture] for picture, one in zip(item, fact, strict=True))
    run = train(config, tmp_path / "run")
    # all stored pairs are in every batch, each as its picture with all that is known of it
    known = known_pairs(run, facts_of(run, 2))
    images = [*sorted(known), *item]
    for picture, one in zip(item, fact, strict=True):
        known.setdefault(picture, set()).add(one)
    x, model = pixels_of(run, images), run.load_model(1)
    for _ in range(3):
        loss = euclidean(run, model(x), [known[image] for image in images])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.sub_(0.05 * gradient)
    for name, value in run.load_model(2).named_parameters():
        torch.testing.assert_close(value, model.get_parameter(name), rtol=1e-4, atol=1e-6)
