"""Answers to queries: against a plain loop and plain FAISS, under every mask, with ties, as tables, JSON and sheets."""

from __future__ import annotations

import json
import math
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_run import FACTS, small_run

from mas_triplets import Fact, FactIndex, UserError
from mas_triplets.facts import SLOTS
from mas_triplets.files import to_json
from mas_triplets.model.triplet import query_rows
from mas_triplets.retrieval.answers import facts_json, facts_tables, hits_json, hits_rows, hits_sheet, write_sheet
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.query import candidates, ranked
from mas_triplets.retrieval.scores import combined, slot_parts

torch.set_num_threads(1)

MASKS = [
    Fact(*(text if present else None for text, present in zip(("dog", "ride", "horse"), mask, strict=True)))
    for mask in product((True, False), repeat=3)
    if any(mask)
]
"""A query for each of the seven masks; <dog, ride, horse> is no fact of the data set."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", params=["cosine", "euclidean"])
def index(home: Path, request: pytest.FixtureRequest) -> FactIndex:
    run = small_run(home, request.param, model__score=request.param, data__region="box")
    return build_index(run, home / f"index-{request.param}")


def embedding_of(index: FactIndex, image: str, box: Any) -> list[float]:
    """The raw embedding of a picture or a box of it, from the file, by itself."""
    with Image.open(image) as picture:
        pixels = index.model.encoder.view.draw(picture.convert("RGB"), box)
    with torch.no_grad():
        found: list[float] = index.model(torch.from_numpy(pixels[None].copy()))[0].double().tolist()
    return found


def plain_parts(index: FactIndex, embedding: list[float], fact: Fact) -> dict[str, float]:
    """lifelong.md word for word, number by number."""
    parts = {}
    for position, (slot, text) in enumerate(zip(SLOTS, fact.slots, strict=True)):
        if text is None:
            continue
        mine = embedding[position * index.record.dim : (position + 1) * index.record.dim]
        theirs = index.run.language.vector(text).tolist()
        if index.record.score == "cosine":
            dot = sum(a * b for a, b in zip(mine, theirs, strict=True))
            parts[slot] = dot / math.hypot(*mine) / math.hypot(*theirs)
        else:
            parts[slot] = -sum((a - b) ** 2 for a, b in zip(mine, theirs, strict=True))
    return parts


def plain_score(index: FactIndex, parts: dict[str, float]) -> float:
    return sum(parts.values()) / (len(parts) if index.record.score == "cosine" else 1)


@pytest.mark.parametrize("fact", MASKS, ids=str)
def test_search_equals_a_plain_loop_over_all_rows(index: FactIndex, fact: Fact) -> None:
    rows = index.rows.to_pylist()
    everything = []
    for row in rows:
        parts = plain_parts(index, embedding_of(index, row["image"], row["box"]), fact)
        everything.append((plain_score(index, parts), row["row"], parts))
    everything.sort(key=lambda entry: (-entry[0], entry[1]))
    hits = index.search(fact, len(rows))
    assert [hit.rank for hit in hits] == list(range(1, len(rows) + 1))
    for hit, (score, row, parts) in zip(hits, everything, strict=True):
        assert hit.score == pytest.approx(score, abs=2e-6)
        assert (hit.image, None if hit.box is None else list(hit.box)) == (rows[row]["image"], rows[row]["box"])
        assert hit.slots == pytest.approx(parts, abs=2e-6)
        assert list(hit.slots) == list(parts)
        assert hit.score == pytest.approx(plain_score(index, hit.slots), abs=1e-12)
    assert index.search(fact, 5) == hits[:5]


@pytest.mark.parametrize("fact", MASKS, ids=str)
def test_search_equals_plain_faiss(index: FactIndex, fact: Fact) -> None:
    plain = faiss.read_index(str(index.path / "index.faiss"))
    vectors, mask = index.run.language.embed([fact])
    scores, rows = plain.search(query_rows(vectors, mask, index.record.score).numpy(), 10)
    constant = float((vectors.square().sum(-1) * mask).sum()) if index.record.score == "euclidean" else 0.0
    hits = index.search(fact)
    assert [hit.score for hit in hits] == pytest.approx((scores[0] - constant).tolist(), abs=2e-5)
    assert [hit.image for hit in hits] == [index.rows["image"][row].as_py() for row in rows[0].tolist()]


def test_several_facts_at_once_and_several_threads_answer_the_same(index: FactIndex) -> None:
    one_by_one = [index.search(fact, 7) for fact in (*MASKS, *FACTS)]
    assert index.search_many([*MASKS, *FACTS], 7) == one_by_one
    many = [fact for fact in FACTS for _ in range(20)]  # FAISS takes another way for many queries
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        torch.set_num_threads(2)
        faiss.omp_set_num_threads(4)
        assert index.search_many(many, 7) == [index.search(fact, 7) for fact in many]
        assert [index.search(fact, 7) for fact in (*MASKS, *FACTS)] == one_by_one
    finally:
        torch.set_num_threads(threads[0])
        faiss.omp_set_num_threads(threads[1])
    assert index.search_many([]) == []


def test_text_wild_cards_and_open_slots_are_one_query(index: FactIndex) -> None:
    assert index.search("<*, Ride, HORSE>", 3) == index.search(Fact(None, "ride", "horse"), 3)
    assert index.search("dog,,", 3) == index.search("<dog, *, *>", 3) == index.search(Fact("dog"), 3)
    assert index.search("<dog>", 3) != index.search("<person>", 3)


def test_wrong_queries_are_told(index: FactIndex) -> None:
    for text, says in (("<*, *>", "at least one slot"), ("<dog", "brackets"), ("a, b, c, d", "4 slots")):
        with pytest.raises(UserError, match=says):
            index.search(text)
    for k in (0, -3):
        with pytest.raises(UserError, match="at least one result"):
            index.search("<dog>", k)
    assert len(index.search("<dog>", 10_000)) == len(index)


def test_facts_of_a_picture_equal_a_plain_loop(index: FactIndex, home: Path) -> None:
    path = home / "pictures" / "007.png"
    embedding = embedding_of(index, str(path), None)
    found = index.facts_of(path, 10)
    assert list(found) == [1, 2, 3]
    for order, hits in found.items():
        facts = [fact for fact in sorted(FACTS, key=lambda fact: fact.sort_key) if fact.order == order]
        scored = [(plain_score(index, plain_parts(index, embedding, fact)), fact) for fact in facts]
        scored.sort(key=lambda entry: -entry[0])
        assert [hit.fact for hit in hits] == [fact for _, fact in scored]
        assert [hit.score for hit in hits] == pytest.approx([score for score, _ in scored], abs=2e-6)
        assert [hit.rank for hit in hits] == [1, 2]
        for hit in hits:
            assert hit.slots == pytest.approx(plain_parts(index, embedding, hit.fact), abs=2e-6)
    flat = index.search_picture(path, 1)
    assert flat == [hits[0] for hits in found.values()]
    with Image.open(path) as picture:
        assert index.facts_of(picture) == found
    with pytest.raises(UserError, match=r"none\.png does not exist"):
        index.facts_of(home / "none.png")


def test_a_picture_twice_is_found_twice_in_the_order_of_rows(home: Path, tmp_path: Path) -> None:
    run = small_run(home, "ties")
    for name in "dcba":
        shutil.copy(home / "pictures" / "001.png", tmp_path / f"{name}.png")
    shutil.copy(home / "pictures" / "002.png", tmp_path / "c2.png")
    index = build_index(run, tmp_path / "index", tmp_path)
    names = [Path(hit.image).name for hit in index.search("<person>")]
    assert [name for name in names if name != "c2.png"] == ["a.png", "b.png", "c.png", "d.png"]


def small_numbers(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Arrays of a few whole numbers, so that many scores are equal, exactly so in single precision."""
    count = math.prod(shape)
    values = st.lists(st.integers(-2, 2), min_size=count, max_size=count)
    return values.map(lambda numbers: np.array(numbers, dtype=np.float32).reshape(shape))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=st.integers(1, 120), k=st.integers(1, 130))
def test_ties_go_to_the_lower_row_for_any_k(data: st.DataObject, rows: int, k: int) -> None:
    gallery = data.draw(small_numbers((rows, 6)))
    vectors = data.draw(small_numbers((1, 3, 2)))
    mask = np.array(data.draw(st.sampled_from([m for m in product((0, 1), repeat=3) if any(m)])), dtype=np.float32)
    index = faiss.IndexFlatIP(6)
    index.add(gallery)
    query = query_rows(torch.from_numpy(vectors), torch.from_numpy(mask[None]), "cosine").numpy()
    found, scores, _ = (one[0] for one in ranked(gallery, candidates(index, query, k), vectors, mask, "cosine", k))
    exact = [
        sum(float(gallery[row, 2 * s : 2 * s + 2] @ vectors[0, s]) for s in range(3) if mask[s]) / mask.sum()
        for row in range(rows)
    ]
    wanted = sorted(range(rows), key=lambda row: (-exact[row], row))[:k]
    assert found.tolist() == wanted
    assert scores.tolist() == pytest.approx([exact[row] for row in wanted])


@pytest.mark.parametrize("rows", [1, 20, 300])
def test_many_queries_at_once_find_what_each_finds_alone(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mas_triplets.retrieval.query._BLOCK", 128)
    generator = np.random.default_rng(rows)
    gallery = generator.integers(-2, 3, (rows, 6)).astype(np.float32)
    queries = generator.integers(-2, 3, (9, 6)).astype(np.float32)
    index = faiss.IndexFlatIP(6)
    index.add(gallery)
    ones = np.ones(3, np.float32)
    together = ranked(gallery, candidates(index, queries, 5), queries.reshape(9, 3, 2), ones, "cosine", 5)
    for number, query in enumerate(queries):
        alone = ranked(gallery, candidates(index, query[None], 5), query.reshape(1, 3, 2), ones, "cosine", 5)
        for mine, theirs in zip(together, alone, strict=True):
            assert mine[number].tolist() == theirs[0].tolist()


def test_many_equal_rows_beyond_k_are_all_looked_at() -> None:
    gallery = np.ones((5_000, 3), dtype=np.float32)
    gallery[4_321] = 2
    index = faiss.IndexFlatIP(3)
    index.add(gallery)
    ones = np.ones((1, 3, 1), dtype=np.float32)
    rows = candidates(index, ones.reshape(1, 3), 4)
    assert ranked(gallery, rows, ones, np.ones(3, np.float32), "cosine", 4)[0].tolist() == [[4_321, 0, 1, 2]]


def test_candidates_that_are_none_come_last() -> None:
    gallery = np.array([[1], [3], [2]], dtype=np.float32)
    rows, scores, _ = ranked(
        gallery,
        np.array([[2, -1, 0], [-1, -1, 1]]),
        np.ones((2, 1, 1), np.float32),
        np.ones(1, np.float32),
        "cosine",
        2,
    )
    assert rows.tolist() == [[2, 0], [1, -1]]
    assert scores.tolist() == [[2, 1], [3, -np.inf]]


def test_parts_by_hand() -> None:
    rows = np.array([[1.0, -1.0, 1.0, -1.0, -1.0, -1.0]])
    vectors = np.array([[[1.0], [1.0], [0.0]]])
    assert slot_parts(rows, vectors, "cosine").tolist() == [[1.0, -1.0, 0.0]]
    assert slot_parts(rows, vectors, "euclidean").tolist() == [[0.0, -4.0, -1.0]]
    parts = np.array([[0.5, 1.0, 9.0]])
    assert combined(parts, np.array([1, 1, 0]), "cosine").tolist() == [0.75]
    assert combined(parts, np.array([1, 1, 0]), "euclidean").tolist() == [1.5]


@pytest.fixture(scope="module")
def words(home: Path) -> FactIndex:
    """An index whose language is a small file of word vectors, with a word more than the data set has."""
    known = {"person": "1 0 0", "dog": "0 1 0", "ride": "0 0 1", "chase": "1 1 0", "horse": "0 1 1", "cat": "1 0 1"}
    lines = [f"{word} {numbers}\n" for word, numbers in {**known, "pony": "0 1 1"}.items()]
    (home / "words.txt").write_text("".join(lines))
    run = small_run(home, "words", model__text={"name": "glove", "path": str(home / "words.txt")})
    return build_index(run, home / "index-words")


def test_word_outside_the_vocabulary_is_encoded(words: FactIndex) -> None:
    pony, horse = words.search_many(["<person, ride, pony>", "<person, ride, horse>"])
    assert [hit.image for hit in pony] == [hit.image for hit in horse]
    assert [hit.score for hit in pony] == pytest.approx([hit.score for hit in horse])
    with pytest.raises(UserError, match="hoarse"):
        words.search("<person, ride, hoarse>")


def test_word_that_nothing_is_known_of_names_the_nearest(words: FactIndex) -> None:
    with pytest.raises(UserError, match=r"'hoarse' is not in the vocabulary.*did you mean 'horse'"):
        words.search("<person, ride, hoarse>")


def test_answers_as_json_and_table(index: FactIndex, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    hits = index.search("<person, *, horse>", 4)
    values = json.loads(to_json(hits_json(hits)))
    assert [list(value) for value in values] == [["rank", "score", "image", "box", "slots"]] * 4
    for value, hit in zip(values, hits, strict=True):
        assert (value["rank"], value["score"], value["image"]) == (hit.rank, hit.score, hit.image)
        assert Path(value["image"]).is_absolute()
        assert value["box"] == (None if hit.box is None else list(hit.box))
        assert value["slots"] == hit.slots
    rows = hits_rows(hits)
    assert [list(row) for row in rows] == [["rank", "score", "image", "box", "subject", "object"]] * 4
    assert all(row["image"].startswith("pictures/") for row in rows)


def test_facts_as_json_and_tables(index: FactIndex, home: Path) -> None:
    found = index.facts_of(home / "pictures" / "000.png", 1)
    values = json.loads(to_json(facts_json(found)))
    assert [(value["rank"], value["order"]) for value in values] == [(1, 1), (1, 2), (1, 3)]
    assert [list(value) for value in values] == [["rank", "score", "order", "fact", "slots"]] * 3
    assert Fact.parse(values[2]["fact"]) in FACTS
    tables = facts_tables(found)
    assert list(tables) == ["facts of order 1", "facts of order 2", "facts of order 3"]
    assert list(tables["facts of order 2"][0]) == ["rank", "score", "fact", "subject", "predicate"]


def test_sheet_of_pictures_with_boxes(index: FactIndex, tmp_path: Path) -> None:
    fact = Fact("person", "ride", "horse")
    hits = index.search(fact, len(index))
    write_sheet(hits, f"pictures for {fact}", tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as sheet:
        assert sheet.width > 6 * 160
        red = (np.asarray(sheet) == (0xC6, 0x28, 0x28)).all(-1).sum()
    assert red > 200 * sum(hit.box is not None for hit in hits)
    write_sheet(hits[:2], "two", tmp_path / "two.jpg")
    with Image.open(tmp_path / "two.jpg") as sheet:
        assert sheet.format == "JPEG"
    with pytest.raises(UserError, match=r"should end in \.png"):
        write_sheet(hits, "all", tmp_path / "all.doc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.png", "two.jpg"]


def test_sheet_shows_large_pictures_small_and_lost_ones_as_lost(home: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (900, 600), "blue").save(tmp_path / "photos" / "large.png")
    Image.new("RGB", (50, 60), "green").save(tmp_path / "photos" / "lost.png")
    index = build_index(small_run(home, "sheets"), tmp_path / "index", tmp_path / "photos")
    (tmp_path / "photos" / "lost.png").unlink()
    sheet = np.asarray(hits_sheet(index.search("<dog>"), "dogs"))
    assert (sheet == (0, 0, 255)).all(-1).sum() > 0.9 * 160 * 107
    assert (sheet == (0xD0, 0xD7, 0xDE)).all(-1).sum() > 0.9 * 160 * 160


def test_a_sheet_larger_than_its_format_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = build_index(small_run(home, "sheets"), tmp_path / "index").search("<dog>", 2)
    tall = Image.new("RGB", (1, 16384))
    monkeypatch.setattr("mas_triplets.retrieval.answers.hits_sheet", lambda *_: tall)
    with pytest.raises(UserError, match=r"1 x 16384 pixels and WEBP holds at most 16383 .*take \.png or a smaller -k"):
        write_sheet(hits, "<dog>", tmp_path / "tall.webp")
    assert not (tmp_path / "tall.webp").exists()
    write_sheet(hits, "<dog>", tmp_path / "tall.png")
