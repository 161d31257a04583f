"""Kinds of index: chosen for a reason, read by plain FAISS, as good as they say, exact where they cannot be good."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_index import GIB, clustered, made_index
from small_run import small_run

from mas_triplets import FactIndex, UserError
from mas_triplets.facts import Fact
from mas_triplets.retrieval.flat_file import FlatWriter, blocks_of, read_flat, vectors_of, write_flat
from mas_triplets.retrieval.kinds import KINDS, choose_kind, list_count, pieces
from mas_triplets.retrieval.recall import mask_name, masks_of, queries_for, recall_at
from mas_triplets.training.run_folder import RunFolder

torch.set_num_threads(1)
faiss.omp_set_num_threads(1)
ROWS, DIM = 6_000, 16
APPROXIMATE = ("ivf", "hnsw", "ivfpq", "sq")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return small_run(tmp_path_factory.mktemp("kinds"), model__text__dim=DIM)


@pytest.fixture(scope="module")
def rows() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return clustered(ROWS, 3, DIM)


@pytest.fixture(scope="module", params=APPROXIMATE)
def index(
    request: pytest.FixtureRequest, run: RunFolder, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> FactIndex:
    return made_index(run, run.path.parent / request.param, rows, request.param, recall=0.9)


def scores_of(
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]], index: FactIndex, fact: Fact
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The cosine scores of all rows, by a loop over the slots."""
    vectors, mask = (tensor.double().numpy() for tensor in index.run.language.embed([fact]))
    slots = rows.reshape(len(rows), 3, DIM).astype(np.float64)
    total = sum((slots[:, place] @ vectors[0, place] for place in range(3) if mask[0, place]), np.zeros(len(rows)))
    return np.asarray(total / mask.sum())


def plain_best(
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]], index: FactIndex, fact: Fact, k: int
) -> list[int]:
    """The k best rows by these scores."""
    best: list[int] = np.lexsort((np.arange(len(rows)), -scores_of(rows, index, fact)))[:k].tolist()
    return best


def test_plain_faiss_reads_it_and_finds_what_it_says(index: FactIndex) -> None:
    plain = faiss.read_index(str(index.path / "index.faiss"))
    assert (plain.ntotal, plain.d, plain.metric_type) == (ROWS, 3 * DIM, faiss.METRIC_INNER_PRODUCT)
    names = {"ivf": "IndexIVFFlat", "hnsw": "IndexHNSWFlat", "ivfpq": "IndexIVFPQ", "sq": "IndexScalarQuantizer"}
    assert type(plain).__name__ == names[index.record.kind]
    exact = faiss.read_index(str(index.path / "exact.faiss"))
    assert type(exact) is faiss.IndexFlatIP
    assert np.array_equal(exact.reconstruct_n(0, ROWS), index.vectors)


def test_every_mask_has_its_search_and_its_recall(index: FactIndex) -> None:
    record = json.loads((index.path / "index.json").read_text())
    assert set(record["search"]) == {mask_name(index.record.parts, mask) for mask in masks_of(index.space)}
    approximate = [one for one in record["search"].values() if one["parameters"] is not None]
    assert approximate, "clustered rows are what approximate search is for"
    for one in approximate:
        assert one["queries"] >= 4
        assert one["recall"]["1"] > 0.5
        assert one["recall"]["10"] > 0.7
    assert record["recall"] == min(one["recall"]["10"] for one in record["search"].values())
    assert "held-out queries" in record["recall_measured"]


def test_recall_noted_is_recall_had(index: FactIndex, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """By the command's own answers, on the queries that were held out, against a plain loop."""
    for mask in masks_of(index.space):
        noted = index.record.search[mask_name(index.record.parts, mask)]
        asked = queries_for(mask, index.facts)
        if noted.parameters is not None:
            asked = asked[1::2]
        shares = []
        for fact, found in zip(asked, index.search_many(asked, 10), strict=True):
            least = scores_of(rows, index, fact)[plain_best(rows, index, fact, 10)[-1]]
            shares.append(sum(hit.score >= least - 1e-5 for hit in found) / 10)
        assert np.mean(shares) == pytest.approx(noted.recall[10], abs=1e-9)


def test_an_answer_does_not_depend_on_what_else_is_asked(run: RunFolder, tmp_path: Path) -> None:
    index = made_index(run, tmp_path / "ivf", clustered(2_000, 3, DIM), "ivf", recall=0.1)
    facts = [fact for fact in queries_for((1, 1, 1), index.facts) if not index.is_exact(fact)]
    together = index.search_many(facts, 60)
    assert len(facts) > 3
    assert together == [index.search(fact, 60) for fact in facts]


def test_scores_are_exact_whatever_the_kind(
    index: FactIndex, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    vectors, _ = index.run.language.embed([Fact("dog", "chase", "cat")])
    slots = rows.reshape(ROWS, 3, DIM).astype(np.float64)
    wanted = (slots * vectors[0].double().numpy()).sum((1, 2)) / 3
    hits = index.search("<dog, chase, cat>", 20)
    assert [hit.score for hit in hits] == pytest.approx([wanted[hit.row] for hit in hits], abs=1e-12)
    assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]


def test_what_cannot_reach_the_recall_is_answered_exactly(run: RunFolder, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(3_000, 3 * DIM)).astype(np.float32)
    index = made_index(run, tmp_path / "noise", noise, "ivf", recall=1.0)
    assert any("less than 1" in one.reason for one in index.record.search.values())
    exact = [
        mask
        for mask in masks_of(index.space)
        if index.record.search[mask_name(index.record.parts, mask)].parameters is None
    ]
    assert exact, "nearest groups say little of noise"
    for mask in exact:
        fact = queries_for(mask, index.facts)[0]
        assert index.is_exact(fact)
        assert [hit.row for hit in index.search(fact, 10)] == plain_best(noise, index, fact, 10)


def test_more_than_the_nearest_groups_hold_is_answered_exactly(run: RunFolder, tmp_path: Path) -> None:
    rows = clustered(2_000, 3, DIM)
    index = made_index(run, tmp_path / "ivf", rows, "ivf", recall=0.1)
    fact = Fact("dog", "chase", "cat")
    assert not index.is_exact(fact)
    assert [hit.row for hit in index.search(fact, 2_000)] == plain_best(rows, index, fact, 2_000)


def test_without_known_facts_nothing_is_measured_and_all_is_exact(run: RunFolder, tmp_path: Path) -> None:
    text = (run.path / "config.yaml").read_text()
    try:
        (run.path / "config.yaml").write_text(text.replace("/data", "/gone"))
        index = made_index(RunFolder(run.path), tmp_path / "ivf", clustered(1_000, 3, DIM), "ivf")
    finally:
        (run.path / "config.yaml").write_text(text)
    assert {one.parameters for one in index.record.search.values()} == {None}
    assert index.record.recall_measured == "exact"


@pytest.mark.parametrize(
    ("rows", "width", "memory", "kind"),
    [
        (100_000, 384, GIB, "flat"),
        (1_000_000, 384, 4 * GIB, "ivf"),
        (1_000_000, 384, GIB, "ivfpq"),
        (1_000_000, 384, 50 * 2**20, "flat"),
    ],
)
def test_auto_chooses_by_rows_numbers_and_memory(rows: int, width: int, memory: int, kind: str) -> None:
    chosen, reason = choose_kind("auto", rows, width, memory)
    assert chosen.name == kind
    assert f"{rows:,} rows of {width:,} numbers" in reason


def test_kinds_that_cannot_be_had(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--kind ivf takes 1,\d{3} MiB .*the 100 MiB allowed: take flat or ivfpq"):
        choose_kind("ivf", 1_000_000, 384, 100 * 2**20)
    with pytest.raises(UserError, match="at least 256 rows and there are 200: take flat"):
        made_index(run, tmp_path / "pq", clustered(200, 3, DIM), "ivfpq")
    assert not list(tmp_path.iterdir())


@given(rows=st.integers(1, 10**7), width=st.integers(1, 5_000))
def test_factories_can_be_made(rows: int, width: int) -> None:
    assert 1 <= list_count(rows) <= max(1, rows // 39)
    assert width % pieces(width) == 0
    for kind in KINDS.values():
        steps: Sequence[object] = kind.settings(rows)
        assert steps


@settings(max_examples=25, deadline=None)
@given(blocks=st.lists(st.integers(0, 5), max_size=6), width=st.integers(1, 9), seed=st.integers(0, 9))
def test_a_flat_file_is_what_faiss_writes(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[int], width: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("flat")
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(count, width)).astype(np.float32) for count in blocks]
    assert write_flat(folder / "ours", width, parts) == sum(blocks)
    theirs = faiss.IndexFlatIP(width)
    for part in parts:
        theirs.add(part)
    faiss.write_index(theirs, str(folder / "theirs"))
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    read = read_flat(folder / "ours")
    assert np.array_equal(vectors_of(read), np.concatenate([np.empty((0, width), np.float32), *parts]))
    assert [len(block) for block in blocks_of(read, 4)] == [4] * (sum(blocks) // 4) + [sum(blocks) % 4] * (
        sum(blocks) % 4 > 0
    )


def test_rows_outlive_the_index_they_were_read_from(tmp_path: Path) -> None:
    write_flat(tmp_path / "flat", 3, [np.full((1_000, 3), 7, np.float32)])
    rows = vectors_of(read_flat(tmp_path / "flat"))
    (tmp_path / "flat").unlink()
    gc.collect()
    assert (rows == 7).all()
    assert not rows.flags.writeable


def test_a_flat_file_that_was_not_finished_is_empty(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), FlatWriter(tmp_path / "flat", 2) as writer:
        writer.add(np.ones((3, 2), np.float32))
        raise KeyboardInterrupt
    assert read_flat(tmp_path / "flat").ntotal == 0


def test_recall_counts_equal_rows_alike() -> None:
    flat = faiss.IndexFlatIP(1)
    flat.add(np.array([[1], [1], [1], [0]], dtype=np.float32))
    query = np.ones((1, 1), dtype=np.float32)
    assert recall_at(2, flat, query, np.array([[2, 1]])) == 1, "any two of three equal rows are the two best"
    assert recall_at(2, flat, query, np.array([[2, 3]])) == 0.5
    assert recall_at(2, flat, query, np.array([[-1, -1]])) == 0
    assert recall_at(9, flat, query, np.array([[0, 1, 2, 3]])) == 1, "there are four rows"


def test_queries_are_facts_without_their_other_slots() -> None:
    facts = [Fact("a"), Fact("a", "p"), Fact("a", "p", "b"), Fact("c", "q", "d")]
    assert set(queries_for((0, 1, 1), facts)) >= {Fact(None, "p", "b"), Fact(None, "q", "d")}
    assert all(fact.mask == (False, True, True) for fact in queries_for((0, 1, 1), facts))
    assert queries_for((1, 0, 1), [Fact("a"), Fact("b", "p")]) == [], "no fact has an object"
    assert queries_for((1,), facts, seed=3) != []
