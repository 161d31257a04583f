"""Indexes that change: what is added, taken out and embedded anew is as in an index made at once; kills and readers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_index import blocks_of_rows, clustered
from notes import Notes
from PIL import Image
from small_run import small_config, small_data, small_run
from test_cli import run
from test_index import own_up

from mas_triplets import FactIndex, UserError
from mas_triplets.config import make_config
from mas_triplets.evaluation.run import evaluate
from mas_triplets.files import locked_by
from mas_triplets.retrieval import refreshing
from mas_triplets.retrieval.assemble import Wanted
from mas_triplets.retrieval.build import Filler, build_index, write_index
from mas_triplets.retrieval.describe import describe_index
from mas_triplets.retrieval.embed import Block, Embedder
from mas_triplets.retrieval.growing import add_pictures, remove_pictures
from mas_triplets.retrieval.index import FactIndex as Opened
from mas_triplets.retrieval.pictures import Pictures
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.retrieval.refreshing import refresh_index
from mas_triplets.retrieval.rewriting import rewrite
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

torch.set_num_threads(1)
DOCUMENTATION = Path(__file__).parents[1] / "docs" / "indexes.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one task, its index, and the same run two tasks on; `more` holds five other pictures."""
    home = tmp_path_factory.mktemp("made")
    small_data(home)
    config = make_config(small_config(home, data__region="box"))
    train(config, home / "run", until=1)
    build_index(RunFolder(home / "run"), home / "index")
    (home / "more").mkdir()
    generator = np.random.default_rng(7)
    for number in range(5):
        Image.fromarray(generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(home / "more" / f"{number}.png")
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change, with the index still of the first task."""
    copy = Path(shutil.copytree(made, tmp_path / "home"))
    record = (copy / "index" / "index.json").read_text().replace(f'"{made}/run"', f'"{copy}/run"')
    (copy / "index" / "index.json").write_text(record)
    return copy


def learn_on(home: Path, made: Path) -> RunFolder:
    """Let the run learn its second task."""
    return train(make_config(small_config(made, data__region="box")), home / "run")


def images(index: Opened) -> list[str]:
    found: list[str] = index.rows["image"].to_pylist()
    return found


def test_adding_appends_what_is_new_by_content(home: Path) -> None:
    before = FactIndex.open(home / "index")
    shutil.copy(home / "more" / "0.png", home / "more" / "twice.png")
    shutil.copy(home / "pictures" / "004.png", home / "more" / "known.png")
    (home / "more" / "broken.png").write_text("no picture")
    notes = Notes()
    added = add_pictures(home / "index", home / "more", progress=notes)
    assert (added.rows, added.known, added.skipped) == (5, 2, 1)
    after = FactIndex.open(home / "index")
    assert images(after) == images(before) + [str(home / "more" / f"{number}.png") for number in range(5)]
    assert np.array_equal(after.vectors[: len(before)], before.vectors)
    alone = build_index(after.run, home / "alone", home / "more")
    assert np.array_equal(after.vectors[len(before) :], alone.vectors[:5])
    assert after.rows["row"].to_pylist() == list(range(len(before) + 5))
    assert after.record.pictures.added == (str(home / "more"),)
    assert after.record.pictures.pictures == before.record.pictures.pictures + 6, "five, and the one that is broken"
    assert any("broken.png" in line for line in notes.lines)
    assert "broken.png" in (home / "index" / "skipped.jsonl").read_text()


def test_adding_again_adds_nothing_and_writes_nothing(home: Path) -> None:
    add_pictures(home / "index", home / "more")
    written = (home / "index" / "index.json").stat().st_mtime_ns
    added = add_pictures(home / "index", home / "more")
    assert (added.rows, added.known) == (0, 5)
    assert (home / "index" / "index.json").stat().st_mtime_ns == written


def test_nothing_to_add_can_be_read(home: Path) -> None:
    (home / "bad").mkdir()
    (home / "bad" / "a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"none of the pictures of .*bad can be read; the first: .*a\.png"):
        add_pictures(home / "index", home / "bad")
    assert len(FactIndex.open(home / "index")) == 72


def test_taking_out_a_picture_a_folder_and_what_is_gone(home: Path, made: Path) -> None:
    add_pictures(home / "index", home / "more")
    assert remove_pictures(home / "index", home / "more" / "3.png") == 1
    assert remove_pictures(home / "index", made / "pictures" / "001.png") == 3, "three boxes"
    (home / "more" / "0.png").unlink()
    assert remove_pictures(home / "index") == 1
    assert remove_pictures(home / "index") == 0
    index = FactIndex.open(home / "index")
    assert len(index) == 72 + 5 - 1 - 3 - 1
    assert remove_pictures(home / "index", home / "more") == 3
    fresh = build_index(index.run, home / "fresh")
    kept = [row for row, image in enumerate(images(fresh)) if not image.endswith("001.png")]
    after = FactIndex.open(home / "index")
    assert np.array_equal(after.vectors, fresh.vectors[kept])
    assert after.rows["row"].to_pylist() == list(range(69))
    assert (home / "more" / "3.png").is_file(), "files stay"
    with pytest.raises(UserError, match=r"no row of .*index is of a picture at .*more: nothing was taken out"):
        remove_pictures(home / "index", home / "more")
    with pytest.raises(UserError, match=r"would leave .*index without a row: nothing was taken out; delete"):
        remove_pictures(home / "index", made / "pictures")


def test_an_older_index_says_so_and_is_asked_as_it_is(home: Path, made: Path) -> None:
    before = FactIndex.open(home / "index").search("<dog>", 5)
    learnt = learn_on(home, made)
    with pytest.raises(
        UserError, match=r"after task 1 of .*run, which has learnt up to task 2 since: `mas-triplets index ref"
    ):
        FactIndex.open(home / "index")
    assert FactIndex.open(home / "index", as_is=True).search("<dog>", 5) == before
    advice = describe_index(home / "index")["refreshing"][0]
    told = f"mas-triplets evaluate {learnt.path} tells what refreshing is worth"
    assert advice == {"rows of older models": 72, "the run has learnt up to task": 2, "advice": told}
    found = evaluate(learnt)["matrices"]["fact_to_image"]["generalized"]
    row = describe_index(home / "index")["refreshing"][0]
    assert row["mAP with all rows fresh"] == found["reembedded"]["map"]["all"]
    assert row["mAP with old rows kept"] == found["kept"]["map"]["all"]
    better = row["mAP with all rows fresh"] > row["mAP with old rows kept"]
    assert row["advice"] == (f"mas-triplets index refresh {home / 'index'}" if better else "keep the rows as they are")


def test_refreshing_gives_the_index_that_the_new_model_would_fill(home: Path, made: Path) -> None:
    learnt = learn_on(home, made)
    add_pictures(home / "index", home / "more")
    mixed = describe_index(home / "index")
    assert [(row["after task"], row["rows"]) for row in mixed["model"]] == [(1, 72), (2, 5)]
    assert mixed["refreshing"][0]["rows of older models"] == 72
    FactIndex.open(home / "index")  # the newest rows are of the newest model
    done = refresh_index(home / "index")
    assert (done.rows, done.left, done.gone) == (72, 0, 0)
    after, fresh = FactIndex.open(home / "index"), build_index(learnt, home / "fresh")
    np.testing.assert_allclose(after.vectors[:72], fresh.vectors, atol=1e-6)
    assert after.rows.slice(0, 72).drop(["content"]) == fresh.rows.drop(["content"])
    assert after.rows["content"].to_pylist()[:72] == fresh.rows["content"].to_pylist()
    assert "refreshing" not in describe_index(home / "index")
    assert refresh_index(home / "index") == refreshing.Refreshed(0, 0, 0)


def test_a_picture_that_is_gone_or_another_keeps_its_row(home: Path, made: Path) -> None:
    add_pictures(home / "index", home / "more")
    before = FactIndex.open(home / "index")
    learn_on(home, made)
    (home / "more" / "1.png").unlink()
    shutil.copy(home / "more" / "2.png", home / "more" / "3.png")
    done = refresh_index(home / "index")
    assert (done.rows, done.gone) == (75, 2)
    after = FactIndex.open(home / "index")
    same = (after.vectors == before.vectors).all(1)
    assert np.flatnonzero(same).tolist() == [73, 75]
    versions = after.rows["model_version"].to_pylist()
    assert versions[73] == versions[75] == before.record.model.fingerprint
    assert after.record.model.fingerprint == after.run.model_fingerprint()


def test_interrupting_a_refresh_keeps_what_is_done(home: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn_on(home, made)
    monkeypatch.setattr(refreshing, "_PART", 10)
    add = refreshing._Waiting.add
    parts: list[int] = []

    def stop(self: refreshing._Waiting, done: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], vectors: object) -> None:
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append(len(done))
        add(self, done, vectors)  # type: ignore[arg-type]

    monkeypatch.setattr(refreshing._Waiting, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        refresh_index(home / "index")
    rows = {row["after task"]: row["rows"] for row in describe_index(home / "index")["model"]}
    assert rows == {1: 42, 2: 30}
    monkeypatch.setattr(refreshing._Waiting, "add", add)
    assert refresh_index(home / "index").rows == 42
    np.testing.assert_allclose(
        FactIndex.open(home / "index").vectors, build_index(RunFolder(home / "run"), home / "fresh").vectors, atol=1e-6
    )
    assert [path.name for path in home.iterdir() if "refresh" in path.name] == []


def test_a_killed_refresh_goes_on_where_it_was(home: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits beside the index is used again, and a part that was cut off is done again."""
    learn_on(home, made)
    monkeypatch.setattr(refreshing, "_PART", 16)
    put = refreshing._put

    def kill(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(refreshing, "_put", kill)
    with pytest.raises(SystemExit):
        refresh_index(home / "index")
    folder = home / ".index.refresh"
    for name, size in (("done", 40), ("vectors", 40 * 4 * 15 + 7)):
        with (folder / name).open("r+b") as file:
            file.truncate(size)
    embedded: list[int] = []
    blocks = Embedder.blocks

    def counting(self: Embedder, pictures: Pictures) -> object:
        embedded.append(len(pictures.image))
        return blocks(self, pictures)

    monkeypatch.setattr(refreshing, "_put", put)
    monkeypatch.setattr(Embedder, "blocks", counting)
    assert refresh_index(home / "index").rows == 72
    assert sum(embedded) == 32, "40 of 72 were waiting"
    fresh = build_index(RunFolder(home / "run"), home / "fresh")
    np.testing.assert_allclose(FactIndex.open(home / "index").vectors, fresh.vectors, atol=1e-6)


def test_killed_at_random_moments_while_another_reads(home: Path, made: Path) -> None:
    learn_on(home, made)
    script = Path(__file__).parent / "killed_indexes.py"
    done = subprocess.run(
        [sys.executable, str(script), str(home), "9", "0"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["landed"] == 9
    assert told["found"] == [72, 77], "changes were finished, and nothing between was ever left"
    assert set(told["seen"]) <= {72, 77}, "the index was read as it was before or after, never otherwise"
    assert told["seen"]
    assert len(FactIndex.open(home / "index")) == 77
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def test_two_that_change_it_at_once(home: Path) -> None:
    (home / "link").symlink_to(home / "index")
    busy = r"another process is changing .*index: wait for its end; queries go on"
    with locked_by(home / ".index.lock", "no"):
        for name in ("index", "link"):
            with pytest.raises(UserError, match=busy):
                add_pictures(home / name, home / "more")
        with pytest.raises(UserError, match=busy):
            build_index(RunFolder(home / "run"), home / "index")
    assert add_pictures(home / "link", home / "more").rows == 5
    assert (home / "link").is_symlink()


def test_what_is_not_of_the_index_is_never_lost(home: Path) -> None:
    (home / "index" / "found.png").write_text("mine")
    for change in (lambda: add_pictures(home / "index", home / "more"), lambda: remove_pictures(home / "index")):
        with pytest.raises(UserError, match=r"holds more than an index, such as found\.png"):
            change()
    assert (home / "index" / "found.png").read_text() == "mine"


def test_what_is_no_index_is_said_and_leaves_nothing(home: Path) -> None:
    for name in ("pictures", "nowhere", "no/where"):
        with pytest.raises(UserError, match="is not an index: make one with"):
            add_pictures(home / name, home / "more")
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_holds_another_picture_now_has_its_row_replaced(home: Path) -> None:
    add_pictures(home / "index", home / "more")
    shutil.copy(home / "pictures" / "001.png", home / "more" / "2.png")  # known, so nothing comes in its place
    Image.new("RGB", (20, 16), "red").save(home / "more" / "3.png")
    added = add_pictures(home / "index", home / "more")
    assert (added.rows, added.replaced, added.known) == (1, 2, 4)
    index = FactIndex.open(home / "index")
    assert images(index)[72:] == [str(home / "more" / f"{number}.png") for number in (0, 1, 4, 3)]
    alone = build_index(index.run, home / "alone", home / "more")
    np.testing.assert_allclose(index.vectors[75], alone.vectors[3], atol=1e-6)
    assert index.rows["row"].to_pylist() == list(range(76))


def test_a_picture_that_becomes_readable_is_no_longer_listed(home: Path) -> None:
    (home / "more" / "5.png").write_text("no picture")
    for _ in range(2):
        Image.new("RGB", (4, 4), (len(list(home.iterdir())), 0, 0)).save(home / "more" / "6.png")
        (home / "more" / "6.png").rename(home / "more" / f"{len(list((home / 'more').iterdir()))}.png")
        add_pictures(home / "index", home / "more")
        assert (home / "index" / "skipped.jsonl").read_text().count("5.png cannot be read") == 1
    Image.new("RGB", (4, 4), "green").save(home / "more" / "5.png")
    assert add_pictures(home / "index", home / "more").rows == 1
    assert not (home / "index" / "skipped.jsonl").exists()


def test_pictures_found_through_a_link_are_taken_out_by_either_name(home: Path) -> None:
    (home / "link").symlink_to(home / "more")
    add_pictures(home / "index", home / "link")
    assert remove_pictures(home / "index", home / "more" / "0.png") == 1
    assert remove_pictures(home / "index", home / "link" / "1.png") == 1
    assert remove_pictures(home / "index", home / "more") == 3


def test_where_folders_cannot_be_exchanged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mas_triplets.files.exchange", lambda *_: False)
    assert add_pictures(home / "index", home / "more").rows == 5
    assert len(FactIndex.open(home / "index")) == 77
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []
    dead = home / ".index.4194303.old"  # a number above what this system gives out: killed between two renamings
    (home / "index").rename(dead)
    assert len(describe_index(home / "index")["searching"]) == 7
    (home / "index").rename(dead)
    assert len(FactIndex.open(home / "index")) == 77
    (home / "index").rename(dead)
    assert remove_pictures(home / "index", home / "more") == 5


def test_rows_of_class_means_of_two_tasks_do_not_stand_side_by_side(
    home: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"lifelong__strategy": "class-means", "model__image__trainable": "none"}
    config = make_config(small_config(made, **settings))
    build_index(train(config, home / "means", until=1), home / "means-index")
    learnt = train(config, home / "means")
    with pytest.raises(UserError, match=r"holds rows of older class means.* first `mas-triplets index refresh"):
        add_pictures(home / "means-index", home / "more")
    monkeypatch.setattr(refreshing, "_PART", 10)
    add = refreshing._Waiting.add

    def stop(self: refreshing._Waiting, *arguments: object) -> None:
        add(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(refreshing._Waiting, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        refresh_index(home / "means-index")
    assert len(describe_index(home / "means-index")["model"]) == 1, "not yet in their places"
    monkeypatch.setattr(refreshing._Waiting, "add", add)
    assert refresh_index(home / "means-index").rows == 24
    fresh = build_index(learnt, home / "fresh")
    np.testing.assert_allclose(FactIndex.open(home / "means-index").vectors, fresh.vectors, atol=1e-6)
    assert add_pictures(home / "means-index", home / "more").rows == 5


def test_a_refresh_that_can_do_nothing_writes_once(home: Path, made: Path) -> None:
    learn_on(home, made)
    shutil.rmtree(home / "pictures")
    rows = [path.replace(str(made), str(home)) for path in images(FactIndex.open(home / "index", as_is=True))]
    table = pq.read_table(home / "index" / "rows.parquet")
    pq.write_table(table.set_column(1, table.schema.field(1), [rows]), home / "index" / "rows.parquet")
    own_up(home / "index", "rows.parquet")
    assert refresh_index(home / "index") == refreshing.Refreshed(0, 0, 72)
    generation = FactIndex.open(home / "index").record.generation
    assert refresh_index(home / "index") == refreshing.Refreshed(0, 0, 72)
    assert FactIndex.open(home / "index").record.generation == generation


def identity(table: pa.Table) -> pa.Table:
    return table


def test_groups_are_learnt_again_when_it_has_grown_by_half(tmp_path: Path) -> None:
    rows = clustered(3_000, 3, 16)
    filler = Filler.of(small_run(tmp_path, model__text__dim=16))
    about = PicturesRecord(place="/nowhere", kind="folder", region="image", own=False, pictures=1, skipped=0)
    write_index(filler, tmp_path / "index", blocks_of_rows(rows[:1_500]), lambda: about, Wanted("ivf", 0.5, 2**30))
    lists = []
    for count in (1_700, 1_950, 2_200, 2_500):
        index = FactIndex.open(tmp_path / "index")
        new = next(blocks_of_rows(rows[len(index) : count])).table(len(index), "x")
        table = index.rows.from_batches([*index.rows.to_batches(), *new.to_batches()])
        vectors = [index.vectors, rows[len(index) : count]]
        rewrite(index, filler, vectors, partial(identity, table), lambda: about, kept=len(index))
        lists.append(FactIndex.open(tmp_path / "index").faiss.nlist)
    first = 1_500 // 39
    assert lists == [first, first, first, 2_500 // 39]
    few = FactIndex.open(tmp_path / "index")
    small = few.rows.slice(0, 5)
    rewrite(few, filler, [few.vectors[:5]], lambda: small, lambda: about)
    assert FactIndex.open(tmp_path / "index").record.rows == 5


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivfpq", "sq"])
def test_rows_added_to_any_kind_are_found(tmp_path: Path, kind: str) -> None:
    rows = clustered(3_000, 3, 16)
    filler = Filler.of(small_run(tmp_path, model__text__dim=16))
    about = PicturesRecord(place="/nowhere", kind="folder", region="image", own=False, pictures=1, skipped=0)
    write_index(filler, tmp_path / "index", blocks_of_rows(rows[:2_900]), lambda: about, Wanted(kind, 0.9, 2**30))
    index = FactIndex.open(tmp_path / "index")
    more: list[Block] = list(blocks_of_rows(rows[2_900:]))
    table = index.rows.from_batches(index.rows.to_batches() + more[0].table(2_900, "x").to_batches())
    both = [index.vectors, more[0].vectors]
    rewrite(index, filler, both, lambda: table, lambda: about, kept=2_900)
    grown = FactIndex.open(tmp_path / "index")
    assert (len(grown), grown.faiss.ntotal, grown.record.kind, grown.record.generation) == (3_000, 3_000, kind, 2)
    assert grown.record.measured_rows == 2_900, "so few more rows say nothing new of recall"
    assert np.array_equal(grown.vectors, rows)
    _, found = grown.faiss.search(rows[2_900:], 50)
    assert np.mean([row in mine for row, mine in enumerate(found, 2_900)]) > 0.95, "a row is near itself"
    assert 2_950 not in [hit.row for hit in grown.similar(2_950, 5)]


def test_by_command(home: Path, made: Path) -> None:
    done = run("index", "add", "index", "more", "--json", cwd=home)
    said = {"rows added": 5, "rows replaced": 0, "pictures known": 0, "pictures skipped": 0}
    assert json.loads(done.stdout) == said
    assert run("index", "remove", "index", "more/2.png", cwd=home).stdout == "1 rows taken out of index\n"
    learn_on(home, made)
    assert "mas-triplets index refresh index" in run("query", "index", "<dog>", cwd=home, code=2).stderr
    assert "76 rows of" in run("index", "refresh", "index", cwd=home).stdout
    assert "dog" in run("query", "index", "<dog>", cwd=home).stdout
    assert "or --gone" in run("index", "remove", "index", cwd=home, code=2).stderr
    other = ("index", "run", "--out", "other", "--kind", "sq", "--memory")
    assert "--memory 'many' is no size" in run(*other, "many", cwd=home, code=2).stderr
    run("index", "--out", "other", "--kind", "sq", "--memory", "1G", "run", cwd=home)
    record = FactIndex.open(home / "other").record
    assert (record.kind, record.memory) == ("sq", 2**30)


def test_every_command_of_the_documentation_works_as_written(made: Path, tmp_path: Path) -> None:
    for name in ("run", "data", "pictures", "more"):
        place = {"run": "runs/photos", "data": "data", "pictures": "photos/images", "more": "photos/more"}[name]
        shutil.copytree(made / name, tmp_path / place)
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENTATION.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "mas-triplets"
        assert run(*arguments, cwd=tmp_path).stdout, line
