"""What `query` prints and writes: several facts, plain words, pictures like one, JSON Lines, CSV, pages."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import webbrowser
from pathlib import Path

import numpy as np
import pytest
import torch
from page_checks import assert_self_contained
from PIL import Image
from query_runs import query, query_index
from small_run import small_run

from mas_triplets import Fact, FactIndex, UserError
from mas_triplets.retrieval.answers import hits_json
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.page import write_hits_page
from mas_triplets.retrieval.queries import Query

torch.set_num_threads(1)
DOCUMENTATION = Path(__file__).parent.parent / "docs" / "retrieval.md"
KEYS = ["rank", "score", "image", "box", "slots"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    query_index(folder)
    return folder


@pytest.fixture(scope="module")
def index(home: Path) -> FactIndex:
    return FactIndex.open(home / "index")


def test_plain_words_are_read_and_the_reading_is_told(home: Path, index: FactIndex) -> None:
    said = query(home, "a person riding horses", "--json")
    assert json.loads(said.stdout) == hits_json(index.search("<person, ride, horse>"))
    assert said.stderr == "read as <person, ride, horse>"
    told = query(home, "person chasing pony", "-k", 1, "--jsonl").stderr
    assert told.startswith("read as <person, chase, pony> note: 'pony' is not in the vocabulary")
    assert query(home, "<person, ride, horse>", "--json").stderr == ""
    assert "'and' is no part of a fact" in query(home, "dog and cat", code=2).stderr


def test_several_facts(home: Path, index: FactIndex) -> None:
    asked = Query(
        Fact("dog"), both=(Fact(None, None, "cat"),), either=(Fact("person"),), none=(Fact("person", "ride"),)
    )
    joined = ("--not", "person riding", "--and", "<*, *, cat>", "--or", "<person>")
    found = json.loads(query(home, "dog", *joined, "-k", 5, "--json").stdout)
    assert found == hits_json(answer(index, [asked], 5)[0])
    assert [list(hit) for hit in found] == [[*KEYS, "facts"]] * 5
    assert list(found[0]["facts"]) == ["<dog>", "<person>", "<*, *, cat>", "<person, ride>"]
    table = query(home, "dog", *joined).stdout
    assert "(<dog> or <person>) and <*, *, cat> and not <person, ride>" in table


def test_json_lines_and_csv_hold_what_json_holds(home: Path) -> None:
    asked = ("<person, *, horse>", "-k", 4)
    values = json.loads(query(home, *asked, "--json").stdout)
    lines = query(home, *asked, "--jsonl").stdout
    assert [json.loads(line) for line in lines.splitlines()] == values
    assert [list(value) for value in values] == [KEYS] * 4
    rows = list(csv.DictReader(io.StringIO(query(home, *asked, "--csv").stdout)))
    assert [list(row) for row in rows] == [
        ["rank", "score", "image", "x1", "y1", "x2", "y2", "subject", "predicate", "object"]
    ] * 4
    for row, value in zip(rows, values, strict=True):
        assert (int(row["rank"]), float(row["score"]), row["image"]) == (value["rank"], value["score"], value["image"])
        assert [row[side] for side in ("x1", "y1", "x2", "y2")] == [str(side) for side in value["box"] or [""] * 4]
        assert row["predicate"] == ""
        assert float(row["object"]) == value["slots"]["object"]
    assert any(value["box"] for value in values)
    several = query(home, "dog", "--not", "<person, ride>", "--csv").stdout
    assert next(csv.reader(io.StringIO(several)))[-2:] == ["<dog>", "<person, ride>"]


def test_facts_of_a_picture_in_every_form(home: Path) -> None:
    asked = ("--image", home / "pictures" / "000.png", "-k", 2)
    values = json.loads(query(home, *asked, "--json").stdout)
    assert [json.loads(line) for line in query(home, *asked, "--jsonl").stdout.splitlines()] == values
    rows = list(csv.DictReader(io.StringIO(query(home, *asked, "--csv").stdout)))
    assert [(row["fact"], int(row["order"])) for row in rows] == [(value["fact"], value["order"]) for value in values]
    assert [row["object"] == "" for row in rows] == [value["order"] < 3 for value in values]
    assert "Page: facts.html" in query(home, *asked, "--html", "facts.html").stdout
    page = (home / "facts.html").read_text()
    assert_self_contained(page)
    assert all(f"facts of order {order}" in page for order in (1, 2, 3))
    assert page.count("<img ") == 1


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_pictures_like_a_picture_equal_a_plain_loop(home: Path, score: str) -> None:
    index = build_index(small_run(home, f"like-{score}", model__score=score), home / f"index-{score}")
    photo = home / "pictures" / "005.png"
    rows = index.faiss.reconstruct_n(0, len(index)).astype(float)[:, : 3 * index.record.dim].reshape(len(index), 3, -1)
    asked = rows[[Path(image).name for image in index.rows["image"].to_pylist()].index("005.png")]
    if score == "cosine":
        plain = (rows * asked).sum(-1)
        total = (rows.reshape(len(rows), -1) @ asked.ravel()) / 3
        assert plain.mean(-1) == pytest.approx(total)  # the cosine of the whole rows, which are sqrt(3) long
    else:
        plain = -np.square(rows - asked).sum(-1)
        total = plain.sum(-1)
    hits = index.similar(photo, 6)
    order = sorted(range(len(rows)), key=lambda row: (-total[row], row))[:6]
    assert [Path(hit.image) for hit in hits] == [Path(index.rows["image"][row].as_py()) for row in order]
    assert [hit.score for hit in hits] == pytest.approx(total[order].tolist(), abs=1e-5)
    assert [list(hit.slots.values()) for hit in hits] == [pytest.approx(plain[row], abs=1e-5) for row in order]
    assert Path(hits[0].image) == photo
    with Image.open(photo) as picture:
        assert index.similar(picture, 6) == hits
    with pytest.raises(UserError, match="at least one result"):
        index.similar(photo, 0)


def test_pictures_like_a_picture_from_the_command_line(home: Path, index: FactIndex) -> None:
    photo = home / "pictures" / "005.png"
    said = query(home, "--similar", photo, "--json", "--sheet", "like.png", "--html", "like.html", "-k", 3)
    assert json.loads(said.stdout) == hits_json(index.similar(photo, 3))
    assert (home / "like.html").read_text().count("<img ") == 4  # the one that was asked first
    with Image.open(home / "like.png") as sheet:
        assert sheet.format == "PNG"
    assert "none.png does not exist" in query(home, "--similar", "none.png", code=2).stderr


def test_page_shows_every_hit_with_its_box_and_nothing_from_elsewhere(home: Path, index: FactIndex) -> None:
    hits = index.search("<person, ride, horse>", len(index))
    write_hits_page(hits, "<b>&", index, home / "all.html")
    page = (home / "all.html").read_text()
    assert_self_contained(page)
    assert page.count("<img ") == page.count("<article ") == len(hits)
    boxes = [hit.box for hit in hits if hit.box is not None]
    assert page.count('<rect class="over"') == len(boxes) > 0
    x1, y1, x2, y2 = boxes[0]
    assert f'<rect class="over" x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"/>' in page
    assert "<h1>&lt;b&gt;&amp;</h1>" in page
    scores = re.findall(r'class="score">([^<]*)<', page)
    assert scores == [f"{hit.score:.3f}".replace("-0.000", "0.000") for hit in hits]


def test_page_of_a_lost_picture_and_of_several_facts(home: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("kept.png", "lost.png"):
        shutil.copy(home / "pictures" / "001.png", tmp_path / "photos" / name)
    index = build_index(small_run(home, "lost"), tmp_path / "index", tmp_path / "photos")
    (tmp_path / "photos" / "lost.png").unlink()
    hits = answer(index, [Query(Fact("dog"), none=(Fact("person"),))])[0]
    write_hits_page(hits, "dogs", index, tmp_path / "dogs.html")
    page = (tmp_path / "dogs.html").read_text()
    assert page.count("<img ") == 1
    assert "cannot be read any more" in page
    assert "&lt;person&gt;" in page
    assert "standard deviations" in page


def test_what_was_written_is_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opened_here(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", opened_here)
    query(home, "<dog>", "--sheet", "dog.png", "--open")
    query(home, "<dog>", "--sheet", "dog.png", "--html", "dog.html", "--open")
    assert opened == [(home / "dog.png").as_uri(), (home / "dog.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert "no program here to open dog.png" in query(home, "<dog>", "--sheet", "dog.png", "--open").stderr


def test_every_command_of_the_documentation_works_as_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    blocks = re.findall(r"```(sh|text|python)\n(.*?)```", DOCUMENTATION.read_text(), flags=re.DOTALL)
    shutil.copy(home / "pictures" / "003.png", home / "beach.jpg")
    (home / "queries.txt").write_text(next(body for kind, body in blocks if kind == "text"))
    lines = [line for kind, body in blocks if kind == "sh" for line in body.splitlines()]
    assert len(lines) >= 15
    for line in lines:
        program, verb, index, *arguments = shlex.split(line)
        assert (program, verb, index) == ("mas-triplets", "query", "photos-index")
        assert query(home, *arguments).stdout, line
    assert {"like.png", "dogs.png", "dogs.html"} <= {path.name for path in home.iterdir()}
    (home / "photos-index").symlink_to(home / "index")
    monkeypatch.chdir(home)
    for kind, body in blocks:
        if kind == "python":
            exec(compile(body, DOCUMENTATION.name, "exec"), {})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give either a fact"),
        (("<dog>", "--similar", "x.png"), "FACT and --similar do not go together"),
        (("--interactive", "--batch", "-"), "--batch and --interactive do not go together"),
        (("--image", "x.png", "--not", "<dog>"), "they do not go with --image"),
        (("<dog>", "--json", "--csv"), "--json and --csv do not go together"),
        (("--batch", "-", "--json"), "--batch takes no --json"),
        (("--interactive", "--sheet", "x.png"), "type :sheet or :html there"),
        (("<dog>", "--open"), "--open opens what was written"),
        (("<dog>", "--html", "dog.pdf"), "the name should end in .html"),
        (("<dog>", "--and", "<a, b, c, d>"), "4 slots"),
        (("<dog>", "--not", "xyzzy"), "'xyzzy' is not in the vocabulary"),
        (("dog person rode ran",), "cannot be placed"),
    ],
)
def test_wrong_use_is_told(home: Path, arguments: tuple[str, ...], says: str) -> None:
    said = query(home, *arguments, code=2)
    assert says in said.stderr
    assert said.stdout == ""
