"""Filling an index and opening it again: what is written, what is refused, what is noticed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from notes import Notes
from PIL import Image
from safetensors.torch import load_file, save_file
from small_run import FACTS, small_data, small_run

from mas_triplets import FactIndex, UserError
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.decoding import Decoder
from mas_triplets.data.items import items_of
from mas_triplets.data.view import View
from mas_triplets.files import sha256_of_file
from mas_triplets.model.triplet import gallery_rows
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.describe import describe_index
from mas_triplets.retrieval.pictures import Pictures, decoded
from mas_triplets.retrieval.store import ROWS
from mas_triplets.training.run_folder import RunFolder

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run and its index; tests that change something copy it."""
    folder = tmp_path_factory.mktemp("home")
    run = small_run(folder)
    build_index(run, folder / "index")
    return folder


@pytest.fixture
def index(home: Path, tmp_path: Path) -> Path:
    """A copy of the index that a test may damage; its run stays where it is."""
    return Path(shutil.copytree(home / "index", tmp_path / "index"))


def expected_rows(run: RunFolder) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One picture at a time through the model, then into the form of a row."""
    dataset, model = run.dataset(), run.load_model()
    items = items_of(dataset, run.config.data.region)
    decoded = Decoder(dataset.paths, items, model.encoder.view).decode(np.arange(len(items)), workers=0)
    pixels = [one for group in decoded if group.pixels is not None for one in group.pixels]
    with torch.no_grad():
        rows = [model(torch.from_numpy(one[None].copy())) for one in pixels]
        return gallery_rows(torch.cat(rows), model.dim, run.config.model.score).numpy()


def faiss_rows(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    found = faiss.read_index(str(path / "index.faiss"))
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = found.reconstruct_n(0, found.ntotal)
    return rows


def test_plain_faiss_reads_rows_of_every_picture_in_order(home: Path) -> None:
    run = RunFolder(home / "run")
    plain = faiss.read_index(str(home / "index" / "index.faiss"))
    assert type(plain) is faiss.IndexFlatIP
    assert (plain.ntotal, plain.d) == (24, 15)
    np.testing.assert_allclose(faiss_rows(home / "index"), expected_rows(run), atol=1e-6)
    table = pq.read_table(home / "index" / "rows.parquet")
    assert table.schema.equals(ROWS)
    assert table["image"].to_pylist() == [str(home / "pictures" / f"{number:03d}.png") for number in range(24)]
    assert table["row"].to_pylist() == list(range(24))
    assert set(table["width"].to_pylist()) == {20}
    assert set(table["height"].to_pylist()) == {16}
    assert set(table["box"].to_pylist()) == {None}
    assert set(table["model_version"].to_pylist()) == {run.model_fingerprint()}


def test_index_json_says_what_it_is(home: Path) -> None:
    record = json.loads((home / "index" / "index.json").read_text())
    assert record["format"] == "mas_triplets_index/2"
    assert (record["kind"], record["recall"], record["recall_measured"]) == ("flat", 1.0, "exact")
    assert (record["rows"], record["numbers_per_row"], record["score"], record["dim"]) == (24, 15, "cosine", 5)
    assert record["model"]["fingerprint"] == RunFolder(home / "run").model_fingerprint()
    assert record["model"]["run"] == str(home / "run")
    assert record["model"]["run_relative"] == "../run"
    assert record["model"]["after_task"] == 2
    assert "exact" in record["reason"]


def test_euclidean_rows_have_three_numbers_more(home: Path, tmp_path: Path) -> None:
    run = small_run(home, "euclidean", model__score="euclidean")
    built = build_index(run, tmp_path / "index")
    assert built.faiss.d == 18
    np.testing.assert_allclose(faiss_rows(tmp_path / "index"), expected_rows(run), rtol=1e-5, atol=1e-6)


def test_box_region_has_a_row_for_each_box(home: Path, tmp_path: Path) -> None:
    run = small_run(home, "boxes", data__region="box")
    built = build_index(run, tmp_path / "index")
    items = items_of(run.dataset(), "box")
    assert len(built) == len(items) == 3 * 24
    np.testing.assert_allclose(faiss_rows(tmp_path / "index"), expected_rows(run), atol=1e-6)
    boxes = built.rows["box"].to_pylist()
    assert boxes[:3] == [None if np.isnan(box).any() else box.tolist() for box in items.box[:3]]
    assert [2.0, 1.0, 19.0, 12.0] in boxes
    assert None in boxes
    hit = built.search(FACTS[4], 72)[0]
    row = built.rows["image"].to_pylist().index(hit.image)
    assert list(hit.box or []) in [box or [] for box in boxes[row : row + 3]]


def test_same_bytes_twice(home: Path, tmp_path: Path) -> None:
    build_index(RunFolder(home / "run"), tmp_path / "again")
    for name in ("index.faiss", "rows.parquet", "facts.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (home / "index" / name).read_bytes()


def test_folder_of_pictures_passes_over_what_cannot_be_read(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(home / "pictures" / "003.png", folder / "deeper" / "z.png")
    shutil.copy(home / "pictures" / "005.png", folder / "m.png")
    (folder / "a.jpg").write_text("not a picture")
    (folder / "b.png").write_bytes((home / "pictures" / "004.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture's name")
    notes = Notes()
    built = build_index(RunFolder(home / "run"), tmp_path / "index", folder, progress=notes)
    assert built.rows["image"].to_pylist() == [str(folder / "deeper" / "z.png"), str(folder / "m.png")]
    np.testing.assert_allclose(faiss_rows(tmp_path / "index"), faiss_rows(home / "index")[[3, 5]], atol=1e-6)
    assert built.record.pictures.skipped == 2
    assert built.record.pictures.pictures == 4
    assert any(line.startswith("2 pictures could not be read") and "a.jpg" in line for line in notes.lines)
    skipped = [json.loads(line) for line in (tmp_path / "index" / "skipped.jsonl").read_text().splitlines()]
    assert [record["image"] for record in skipped] == [str(folder / "a.jpg"), str(folder / "b.png")]


def test_folder_without_a_readable_picture_is_an_error_that_writes_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"none of the pictures of .*photos can be read; the first: .*a\.jpg"):
        build_index(RunFolder(home / "run"), tmp_path / "index", tmp_path / "photos")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_another_data_set_and_no_data_set_of_the_run(home: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(home / "run", tmp_path / "run")
    text = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(text.replace(str(home / "data"), str(tmp_path / "gone")))
    run, other, notes = RunFolder(moved), small_data(tmp_path / "other", pictures=8, seed=5), Notes()
    built = build_index(run, tmp_path / "index", other.folder, progress=notes)
    assert len(built) == 8
    assert built.record.pictures.kind == "data set"
    assert len(built.search("<person, ride>")) == 8
    assert any("cannot tell which facts" in line for line in notes.lines)
    with pytest.raises(UserError, match=r"knows no facts .*index .*run --images .*other/data --out"):
        built.facts_of(other.paths[0])
    with pytest.raises(UserError, match="gone does not exist"):
        build_index(run, tmp_path / "own")


def test_decoding_stays_a_little_ahead_of_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def read(path: Path) -> Image.Image:
        opened.append(path)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr("mas_triplets.retrieval.pictures.read_picture", read)
    paths = [tmp_path / f"{number}.png" for number in range(500)]
    pictures = Pictures(tmp_path, "folder", "image", paths, np.arange(500), np.full((500, 4), np.nan, np.float32))
    stream = decoded(pictures, View(8))
    assert [next(stream).path for _ in range(10)] == paths[:10]
    time.sleep(0.2)  # what was asked for too early would be decoded now
    assert len(opened) <= 64
    assert [one.path for one in stream] == paths[10:]


def test_replaces_an_index_and_nothing_else(home: Path, index: Path, tmp_path: Path) -> None:
    run, photos = RunFolder(home / "run"), tmp_path / "photos"
    photos.mkdir()
    shutil.copy(home / "pictures" / "000.png", photos)
    assert len(build_index(run, index, photos)) == 1
    (index / "sheet.png").write_text("mine")
    with pytest.raises(UserError, match=r"more than an index, such as sheet\.png"):
        build_index(run, index)
    assert len(FactIndex.open(index)) == 1
    with pytest.raises(UserError, match="exists and is not an index"):
        build_index(run, photos)
    assert (photos / "000.png").is_file()
    with pytest.raises(UserError, match="exists and is not an index"):
        build_index(run, photos / "000.png")


def test_interruption_leaves_the_old_index(home: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mas_triplets.retrieval.assemble.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        build_index(RunFolder(home / "run"), index)
    assert [path.name for path in index.parent.iterdir()] == ["index"]
    assert len(FactIndex.open(index)) == 24


def test_a_kind_that_is_none_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'flat'"):
        build_index(RunFolder(home / "run"), tmp_path / "index", kind="flatt")
    assert not (tmp_path / "index").exists()


def test_numbers_that_are_not_finite_are_refused(home: Path, tmp_path: Path) -> None:
    run = shutil.copytree(home / "run", tmp_path / "run")
    weights = load_file(run / "tasks" / "02" / "model.safetensors")
    weights["heads.object.bias"][0] = float("nan")
    save_file(weights, run / "tasks" / "02" / "model.safetensors")
    with pytest.raises(UserError, match=r"not finite for .*000\.png: it has diverged"):
        build_index(RunFolder(run), tmp_path / "index")


def test_another_model_is_an_error_with_a_remedy(home: Path, index: Path, tmp_path: Path) -> None:
    other = small_run(home, "other", seed=1)
    with pytest.raises(UserError, match=rf"filled by another model .*`mas-triplets index {other.path} --out {index}`"):
        FactIndex.open(index, other.path)
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    assert len(FactIndex.open(index, run)) == 24
    shutil.rmtree(run / "tasks" / "02")
    with pytest.raises(UserError, match=r"then after task 2, now after task 1.*fill it again"):
        FactIndex.open(index, RunFolder(run))
    config = (home / "run" / "config.yaml").read_text().replace("score: cosine", "score: euclidean")
    again = Path(shutil.copytree(home / "run", tmp_path / "again"))
    (again / "config.yaml").write_text(config)
    with pytest.raises(UserError, match="scores by euclidean: fill it again"):
        FactIndex.open(index, again)


def test_finds_the_run_where_it_was_or_moved_along_with_the_index(home: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(home / "run", first / "run")
    build_index(RunFolder(first / "run"), first / "here" / "index")
    first.rename(second)
    assert FactIndex.open(second / "here" / "index").run.path.resolve() == second / "run"
    (second / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"the run that filled .* is not at .*first/run: say where it is with `--run"):
        FactIndex.open(second / "here" / "index")
    assert len(FactIndex.open(second / "here" / "index", tmp_path / "elsewhere")) == 24
    with pytest.raises(UserError, match="is not a run"):
        FactIndex.open(second / "here" / "index", tmp_path / "nowhere")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(["index.faiss", "rows.parquet", "facts.parquet"], [cut, garbage, empty, flip, Path.unlink]),
        *product(["index.json"], [cut, garbage, empty, Path.unlink]),
    ],
)
def test_damaged_file_is_named_with_a_remedy(index: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(index / name)
    with pytest.raises(UserError) as caught:
        FactIndex.open(index)
    named = index if (name, damage) == ("index.json", Path.unlink) else index / name
    assert str(named) in str(caught.value)
    assert "mas-triplets index" in str(caught.value) or name == "index.json"
    with pytest.raises(UserError):
        describe_index(index)


def own_up(index: Path, name: str) -> None:
    """Let index.json say of a changed file what it is now, as a program with a mistake would."""
    record = json.loads((index / "index.json").read_text())
    record["files"][name] = {"bytes": (index / name).stat().st_size, "sha256": sha256_of_file(index / name)}
    (index / "index.json").write_text(json.dumps(record))


def test_rows_that_do_not_match_the_vectors(index: Path) -> None:
    table = pq.read_table(index / "rows.parquet")
    pq.write_table(table.slice(0, 20), index / "rows.parquet")
    own_up(index, "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet has 20 rows, .*index\.faiss has 24 .*fill it again with"):
        FactIndex.open(index)


def test_vectors_of_another_width_or_measure(index: Path) -> None:
    wide = faiss.IndexFlatIP(7)
    wide.add(np.zeros((24, 7), dtype=np.float32))
    faiss.write_index(wide, str(index / "index.faiss"))
    own_up(index, "index.faiss")
    with pytest.raises(UserError, match=r"index\.faiss has 7 numbers a row .*need 15: fill it again with"):
        FactIndex.open(index)
    distance = faiss.IndexFlatL2(15)
    distance.add(np.zeros((24, 15), dtype=np.float32))
    faiss.write_index(distance, str(index / "index.faiss"))
    own_up(index, "index.faiss")
    with pytest.raises(UserError, match="does not search by inner product"):
        FactIndex.open(index)


def test_description_of_another_version_or_form(index: Path) -> None:
    record = json.loads((index / "index.json").read_text())
    (index / "index.json").write_text(json.dumps({**record, "format": "mas_triplets_index/9"}))
    with pytest.raises(UserError, match="this version reads 'mas_triplets_index/2'"):
        FactIndex.open(index)
    (index / "index.json").write_text(json.dumps({**record, "dim": "five"}))
    with pytest.raises(UserError, match=r"index\.json is not the description of an index \(key 'dim'"):
        FactIndex.open(index)
    with pytest.raises(UserError, match="is not an index: make one with"):
        FactIndex.open(index.parent)


def test_describe_tells_kind_pictures_and_model(home: Path) -> None:
    tables = describe_index(home / "index")
    assert list(tables) == ["index index", "searching", "pictures", "model"]
    assert len(tables["searching"]) == 7
    assert {row["search"] for row in tables["searching"]} == {"exact"}
    assert tables["index index"][0]["rows"] == 24
    assert tables["pictures"][0]["from"] == str(home / "data")
    assert tables["model"][0]["after task"] == 2
    json.dumps(tables)


def test_a_size_that_the_data_set_does_not_know_is_read_from_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = DatasetBuilder.add_image
    monkeypatch.setattr(
        DatasetBuilder, "add_image", lambda self, name, file, _, part: add(self, name, file, None, part)
    )
    run = small_run(tmp_path)
    assert set(run.dataset().images["width"].to_pylist()) == {None}
    rows = build_index(run, tmp_path / "index").rows
    assert set(zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)) == {(20, 16)}


def test_the_working_directory_is_not_replaced(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (Path(), tmp_path):
        with pytest.raises(UserError, match=r"--out is the working directory .*name a folder"):
            build_index(RunFolder(home / "run"), out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{}", "[]", '{"words": 1, "unknown": []}'])
def test_a_vocabulary_that_is_none_is_named(home: Path, tmp_path: Path, text: str) -> None:
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    (run / "language.json").write_text(text)
    with pytest.raises(UserError, match=r"language\.json is not the vocabulary of a run .*train the run again"):
        build_index(RunFolder(run), tmp_path / "index")


def test_pictures_like_a_row_are_those_of_other_pictures(home: Path, tmp_path: Path) -> None:
    boxes = build_index(small_run(home, "boxes", data__region="box"), tmp_path / "boxes")
    hits = boxes.similar(4, 72)
    assert {hit.row for hit in hits} == set(range(72)) - {3, 4, 5}, "the boxes of its own picture are left out"
    slots = boxes.vectors.reshape(72, 3, -1).astype(np.float64)
    wanted = (slots * slots[4]).sum(2).mean(1)
    assert [hit.score for hit in hits] == pytest.approx([wanted[hit.row] for hit in hits], abs=1e-9)
    assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]
    index = FactIndex.open(home / "index")
    assert index.similar(home / "pictures" / "007.png", 1)[0].row == 7
    with pytest.raises(UserError, match="there is no row 24: this index has the rows 0 to 23"):
        index.similar(24)


def test_an_index_of_one_picture_has_none_like_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(home / "pictures" / "000.png", tmp_path / "one")
    assert build_index(RunFolder(home / "run"), tmp_path / "index", tmp_path / "one").similar(0) == []


def test_facts_of_a_row_are_those_of_its_picture(home: Path) -> None:
    index = FactIndex.open(home / "index")
    by_row, by_picture = index.facts_of(5), index.facts_of(home / "pictures" / "005.png")
    assert [hit.fact for hits in by_row.values() for hit in hits] == [
        hit.fact for hits in by_picture.values() for hit in hits
    ]
    for mine, theirs in zip(by_row.values(), by_picture.values(), strict=True):
        assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in theirs], abs=1e-6)
