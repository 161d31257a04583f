"""Ranking a block of queries at a time: equal to all scores at once, whatever the bound, and within it."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.errors import UserError
from mas_triplets.evaluation import block_ranking, score_tiles
from mas_triplets.evaluation.block_ranking import rank_blocks
from mas_triplets.evaluation.ranking import rank_metrics
from mas_triplets.evaluation.score_tiles import FACT_TILE, ITEM_TILE, ScoreTiles
from mas_triplets.model.triplet import slot_scores


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].view(torch.int64), other[name].view(torch.int64)) for name in one
    )


def labels_of(relevant: Tensor) -> Labels:
    row, column = np.nonzero(relevant.numpy())
    return Labels.of_pairs(row, column, *relevant.shape)


def made_up(items: int, facts: int, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(items)
    embedding = torch.randn(items, 3 * dim, generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(facts, 3, dim, generator=generator), dim=-1)
    mask = torch.ones(facts, 3)
    mask[::3, 2] = 0
    return embedding, vectors * mask.unsqueeze(-1), mask


# ---- blocks of queries


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_neither_the_bound_nor_the_blocks_change_a_bit(data: st.DataObject) -> None:
    queries, items = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 14))
    cells = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=items, max_size=items)
    drawn = data.draw(st.lists(cells, min_size=queries, max_size=queries))
    scores = torch.tensor([[float(score) for score, _ in line] for line in drawn])
    relevant = torch.tensor([[right for _, right in line] for line in drawn])
    memory, together = data.draw(st.sampled_from([1, 300, 2000, 10_000, 10**9])), data.draw(st.integers(1, 5))
    asked: list[int] = []

    def some(wanted: slice) -> Tensor:
        asked.extend(range(wanted.start, wanted.stop))
        return scores[wanted].clone()

    right = [labels_of(relevant), labels_of(relevant | (scores > 1))]
    found = rank_blocks(some, right, ap_cutoffs=(2, 5), memory_bytes=memory, multiple_of=together)
    assert same_bits(found[0], rank_metrics(scores, relevant, ap_cutoffs=(2, 5)))
    assert same_bits(found[1], rank_metrics(scores, relevant | (scores > 1), ap_cutoffs=(2, 5)))
    assert asked == list(range(queries))  # each once, in order


@pytest.mark.parametrize("bound", [400_000, 1_600_000, 6_400_000])
def test_blocks_stay_under_the_bound(bound: int) -> None:
    embedding, vectors, mask = made_up(items=5000, facts=300)
    tiles = ScoreTiles(embedding, vectors, mask, "cosine")
    relevant = torch.rand(300, 5000, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 0.02, 300)[:, None]
    largest = 0

    def watched(facts: slice) -> Tensor:
        nonlocal largest
        scores = tiles.of_facts(facts)
        largest = max(largest, scores.nbytes)
        return scores

    (found,) = rank_blocks(watched, [labels_of(relevant)], memory_bytes=bound, multiple_of=FACT_TILE)
    assert bound // 8 < largest <= bound // 2  # used, and kept
    assert same_bits(found, rank_metrics(tiles.of_facts(slice(0, 300)), relevant))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=30), st.integers(0, 200))
def test_slices_that_fit_cover_all_and_fit(found: list[int], cells: int) -> None:
    slices = list(block_ranking._slices_that_fit(np.array(found, dtype=np.int64), cells))
    assert [place for some in slices for place in range(some.start, some.stop)] == list(range(len(found)))
    for some in slices:
        count = some.stop - some.start
        assert count == 1 or count * max(1, *found[some]) <= cells


def test_a_score_that_is_no_number_is_told_with_its_place() -> None:
    scores = torch.zeros(7, 5)
    scores[5, 3] = torch.nan
    labels = labels_of(torch.ones(7, 5, dtype=torch.bool))
    with pytest.raises(UserError, match=r"query 5 for gallery item 3 is not a number"):
        rank_blocks(lambda queries: scores[queries].clone(), [labels], memory_bytes=100)


# ---- scores from a grid of tiles


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
@pytest.mark.parametrize(("items", "facts"), [(ITEM_TILE + 700, FACT_TILE + 30), (50, 3), (ITEM_TILE, 2 * FACT_TILE)])
def test_any_part_of_the_scores_has_the_same_bits(kind: str, items: int, facts: int) -> None:
    embedding, vectors, mask = made_up(items, facts)
    tiles = ScoreTiles(embedding, vectors, mask, kind)
    whole = tiles.of_items(slice(0, items))
    torch.testing.assert_close(whole, slot_scores(embedding, vectors, mask, kind), rtol=1e-5, atol=1e-5)
    assert tiles.nbytes == whole.nbytes
    for start, stop in ((0, 1), (facts // 2, facts), (0, facts), (facts - 1, facts)):
        assert torch.equal(tiles.of_facts(slice(start, stop)), whole[:, start:stop].T)
    for start, stop in ((0, 7), (items // 2, items), (items - 1, items)):
        assert torch.equal(tiles.of_items(slice(start, stop)), whole[start:stop])
    tiles.keep()
    kept = tiles.of_facts(slice(1, 3))
    assert torch.equal(kept, whole[:, 1:3].T)
    kept.zero_()  # it may be written over
    assert torch.equal(tiles.of_items(slice(0, items)), whole)


def test_equal_pictures_tie_wherever_they_stand() -> None:
    embedding, vectors, mask = made_up(ITEM_TILE + 11, 40, dim=50)
    copies = [0, 5, ITEM_TILE - 1, ITEM_TILE, ITEM_TILE + 10]
    embedding[copies] = embedding[0].clone()
    scores = ScoreTiles(embedding, vectors, mask, "cosine").of_facts(slice(0, 40))
    assert (scores[:, copies] == scores[:, :1]).all()


@pytest.mark.parametrize("module", [block_ranking, score_tiles])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
