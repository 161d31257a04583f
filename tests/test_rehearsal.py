"""What batches are made of when earlier pairs are rehearsed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelong_runs import config_of, facts_of, known_pairs, same, weights
from small_run import small_data
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.data.prepared import IntArray
from mas_triplets.training.fit import StageFit
from mas_triplets.training.rehearsal import Rows, rows_of
from mas_triplets.training.run import train
from mas_triplets.training.stages import StageData

VECTORS, MASK = torch.arange(60.0).view(10, 3, 2), torch.ones(10, 3)


def stage(pairs: set[tuple[int, int]], facts: list[int]) -> StageData:
    items, fact_ids = np.array(sorted({item for item, _ in pairs})), np.array(facts)
    row, column = (
        np.array([list(values).index(pair[which]) for pair in sorted(pairs)])
        for which, values in enumerate((items.tolist(), facts))
    )
    return StageData(items, fact_ids, Labels.of_pairs(row, column, len(items), len(facts)), VECTORS[facts], MASK[facts])


def test_rows_by_hand() -> None:
    """Picture 4 is in the stage, with fact 2; it is stored too, with fact 7, and so is picture 9."""
    data = stage({(4, 2), (6, 3)}, [2, 3])
    rows = rows_of(data, (np.array([4, 9]), np.array([7, 5])), VECTORS, MASK)
    assert (rows.items.tolist(), rows.own) == ([4, 6, 4, 9], 2)
    torch.testing.assert_close(rows.vectors, VECTORS[[2, 3, 5, 7]])
    expected = [[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert rows.relevance(np.arange(4)).tolist() == expected
    assert rows.relevance(np.array([3, 0])).tolist() == [expected[3], expected[0]]


def test_nothing_stored_leaves_the_stage() -> None:
    data = stage({(4, 2), (6, 3)}, [2, 3])
    rows = rows_of(data, None, VECTORS, MASK)
    assert (rows.items.tolist(), rows.own, rows.vectors is data.vectors) == ([4, 6], 2, True)
    assert rows.relevance(np.arange(2)).tolist() == [[1, 0], [0, 1]]


PAIRS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=15)


@settings(max_examples=60, deadline=None)
@given(PAIRS, PAIRS)
def test_relevance_equals_a_plain_loop(own: set[tuple[int, int]], memory: set[tuple[int, int]]) -> None:
    data = stage(own, sorted({fact for _, fact in own}))
    stored = sorted(memory)
    columns = tuple(np.array(column) for column in zip(*stored, strict=True))
    rows = rows_of(data, (columns[0], columns[1]), VECTORS, MASK)
    assert rows.items.tolist() == [*data.items.tolist(), *(item for item, _ in stored)]
    facts = [*data.fact_ids.tolist(), *sorted({fact for _, fact in stored} - set(data.fact_ids.tolist()))]
    torch.testing.assert_close(rows.vectors, VECTORS[facts])
    expected = [[float((item, fact) in own | memory) for fact in facts] for item in rows.items.tolist()]
    assert rows.relevance(np.arange(len(rows.items))).tolist() == expected


def test_draws_are_different_rows_of_all_that_is_stored() -> None:
    data = stage({(0, 0)}, [0])
    rows = rows_of(data, (np.arange(5), np.full(5, 3)), VECTORS, MASK)
    generator = np.random.default_rng(0)
    drawn = [rows.drawn(2, generator).tolist() for _ in range(200)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 80).max() < 5 * np.sqrt(200 * 0.4 * 0.6)
    assert sorted(rows.drawn(9, generator).tolist()) == [1, 2, 3, 4, 5]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Rows, IntArray, Tensor]]:
    """Note (stage, rows, what is in the batch, its inputs) of every step."""
    seen: list[tuple[int, Rows, IntArray, Tensor]] = []
    step: Callable[..., None] = StageFit._step

    def steps(self: StageFit, rows: IntArray, mine: IntArray, batch: Tensor, rate: float) -> None:
        seen.append((self.state.stage, self._rows, mine, batch.clone()))
        step(self, rows, mine, batch, rate)

    monkeypatch.setattr(StageFit, "_step", steps)
    return seen


SETTINGS: dict[str, Any] = {
    "lifelong__strategy": "replay",
    "lifelong__memory": {"per_fact": 3, "share": 0.5},
    "train__batch_size": 5,
    "train__epochs": 2,
}


@pytest.mark.parametrize("region", ["image", "box"])
def test_batches_have_their_share_of_stored_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    small_data(tmp_path)
    with monkeypatch.context() as patched:
        seen = spied(patched)
        run = train(config_of(tmp_path, data__region=region, **SETTINGS), tmp_path / "run")
    for number, rows, mine, _ in seen:
        new = int((mine < rows.own).sum())
        assert len(mine) - new == (0 if number == 1 else max(1, round(0.5 * new)))
        assert len(set(mine.tolist())) == len(mine)
    second = [one for one in seen if one[0] == 2]
    _, rows, _, _ = second[0]
    for epoch in (second[: len(second) // 2], second[len(second) // 2 :]):
        new_rows = np.concatenate([mine[mine < rows.own] for _, _, mine, _ in epoch])
        assert sorted(new_rows.tolist()) == list(range(rows.own))  # every new item once
    if region == "image":
        both = known_pairs(run, facts_of(run, 1)), known_pairs(run, facts_of(run, 2))
        stored = set(rows.items[rows.own :].tolist())
        assert stored & set(rows.items[: rows.own].tolist())  # pictures that are in both
        count = rows.relevance(np.arange(len(rows.items))).sum(1)
        for item, facts in zip(rows.items.tolist(), count.tolist(), strict=True):
            assert len(both[1].get(item, ())) <= facts <= sum(len(known.get(item, ())) for known in both)
    for task in (1, 2):  # each row is fed its own picture: pixels differ between items, and only between them
        fed: dict[int, Tensor] = {}
        for number, rows, mine, batch in seen:
            for item, one in zip(rows.items[mine].tolist(), batch, strict=True):
                if number == task:
                    assert torch.equal(fed.setdefault(item, one), one)
        assert len({one.numpy().tobytes() for one in fed.values()}) == len(fed)


def test_decoding_every_epoch_gives_the_same_bits(tmp_path: Path) -> None:
    small_data(tmp_path)
    runs = [
        train(config_of(tmp_path, data__decode=decode, **SETTINGS), tmp_path / str(number))
        for number, decode in enumerate(("once", "every epoch"))
    ]
    assert same(weights(runs[0].path), weights(runs[1].path))


def test_stored_boxes_are_decoded_every_epoch_like_kept_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of boxes differs, since those of a picture are brought together, but each row is fed the same."""
    small_data(tmp_path)
    fed: list[dict[int, bytes]] = []
    for decode in ("once", "every epoch"):
        with monkeypatch.context() as patched:
            seen = spied(patched)
            train(config_of(tmp_path, data__decode=decode, data__region="box", **SETTINGS), tmp_path / decode)
        found: dict[int, bytes] = {}
        for number, rows, mine, batch in seen:
            if number == 2:
                assert bool((mine >= rows.own).any())
                found |= {
                    item: one.numpy().tobytes() for item, one in zip(rows.items[mine].tolist(), batch, strict=True)
                }
        fed.append(found)
    assert all(fed[0][item] == fed[1][item] for item in fed[0].keys() & fed[1].keys())
    assert len(fed[0].keys() & fed[1].keys()) > 5
