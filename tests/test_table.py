"""`prepare table`: the user's own list, in whatever shape it comes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.table import read_table
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

NAMES = ("one.png", "two.jpg", "three.png", "four.png", "sub/five.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / name)
    (folder / "truncated.jpg").write_bytes((folder / "two.jpg").read_bytes()[:-200])
    (folder / "text.png").write_text("not a picture")
    return folder


def rejects(path: Path, pictures: Path) -> list[tuple[str, str]]:
    builder = read_table(path, pictures)
    return [(record["source"], record["reason"]) for record in builder._rejected]


@pytest.mark.parametrize(
    "text",
    [
        "image,subject,predicate,object,split\none.png,Dog,Jump_Over,hurdle,train\ntwo.jpg,dog,,,test\n",
        '\ufeffsplit;object;image;subject;predicate\r\ntrain;hurdle;one.png;"Dog";"Jump_Over"\r\ntest;;two.jpg;dog;\r\n',
        "note\timage\tsubject\tpredicate\tobject\tsplit\nx\tone.png\tDog\tJump_Over\thurdle\ttrain\n"
        "y\ttwo.jpg\tdog\t\t\ttest\n",
        '{"image": "one.png", "subject": "Dog", "predicate": "Jump_Over", "object": "hurdle", "split": "train"}\n\n'
        '{"split": "test", "image": "two.jpg", "subject": "dog", "predicate": null}\n',
    ],
    ids=["csv", "semicolons, BOM, quotes, other order", "tabs and a further column", "JSON Lines"],
)
def test_the_same_facts_whatever_the_form(tmp_path: Path, pictures: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8", newline="")
    dataset = PreparedDataset.open(read_table(path, pictures, validation=0).write(tmp_path / "d"))
    assert [str(fact) for fact in dataset.facts] == ["<dog>", "<dog, jump over, hurdle>"]
    assert dataset.images["image_id"].to_pylist() == ["one.png", "two.jpg"]
    assert dataset.images["split"].to_pylist() == ["train", "test"]
    assert dataset.images["width"].to_pylist() == [30, 30]
    assert not dataset.description["rejected"]
    wordings = (tmp_path / "d" / "README.md").read_text()
    assert "<Dog, Jump_Over, hurdle>" in wordings  # the original wording is kept


def test_every_bad_row_is_told_with_its_line_and_the_good_ones_stay(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "image,subject,predicate,object,split,subject_box\n"
        "one.png,dog,run,,train,0 0 10 10\n"  # 2: good
        "none.png,dog,,,train,\n"  # 3
        "text.png,dog,,,train,\n"  # 4
        "truncated.jpg,dog,,,train,\n"  # 5
        "one.png,,run,,train,\n"  # 6
        "one.png,,,,train,\n"  # 7
        "one.png,dog,run,,dev-ish,\n"  # 8
        "one.png,dog,,,test,\n"  # 9: the picture is in train
        "one.png,dog,eat,,train,40 0 50 9\n"  # 10: outside
        "one.png,dog,eat,,train,1 2 3\n"  # 11
        "one.png,dog\n"  # 12
        "one.png,dog,run,,train,0 0 10 10\n"  # 13: again
        ',dog,"on\nthe",,train,\n'  # 14 and 15
        "two.jpg,cat,,,test,\n",  # 16: good
        encoding="utf-8",
    )
    assert dict(rejects(path, pictures)) == {
        "list.csv#3": "missing image",
        "list.csv#4": "unreadable image",
        "list.csv#5": "unreadable image",
        "list.csv#6": "empty text",
        "list.csv#7": "empty text",
        "list.csv#8": "unknown part",
        "list.csv#9": "conflicting part",
        "list.csv#10": "degenerate box",
        "list.csv#11": "degenerate box",
        "list.csv#12": "malformed record",
        "list.csv#13": "duplicate",
        "list.csv#14": "malformed record",
    }
    dataset = PreparedDataset.open(read_table(path, pictures, validation=0).write(tmp_path / "d"))
    assert [str(fact) for fact in dataset.facts] == ["<cat>", "<dog, run>"]


def test_parts_are_carved_by_seed_where_none_are_given(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,subject\n" + "".join(f"{name},dog\n" for name in NAMES))
    one, again, other = (
        PreparedDataset.open(
            read_table(path, pictures, validation=0.25, test=0.2, seed=seed).write(tmp_path / f"d{number}")
        )
        for number, seed in enumerate((0, 0, 5))
    )
    assert sorted(one.images["split"].to_pylist()) == ["test", "train", "train", "train", "val"]
    assert one.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.csv", b"", "is empty"),
        ("list.csv", b"picture,subject\na,b\n", "no column image"),
        ("list.csv", b"image;object\na;b\n", "no column subject"),
        ("list.csv", b"image,subject,image\n", "twice"),
        ("list.csv", b"image,subject\n\xff\xfe,dog\n", "not UTF-8"),
        ("list.csv", b"image,subject\n", "no labelled picture"),
        ("list.csv", b"image,subject\nnone.png,dog\n", "1 missing image"),
        ("list.jsonl", b'{"image": 3}\n', "malformed record"),
    ],
)
def test_a_list_that_gives_nothing_is_an_error(
    tmp_path: Path, pictures: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_table(tmp_path / name, pictures).write(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_missing_list_and_folder_are_told(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "none.csv", pictures)
    with pytest.raises(UserError, match="is a folder"):
        read_table(pictures, pictures)
    with pytest.raises(UserError, match="--images"):
        read_table(tmp_path / "none.csv", tmp_path / "nowhere")


GOOD = (
    "image,subject,predicate,object,split\none.png,dog,run,,train\ntwo.jpg,cat,sit on,mat,test\nthree.png,dog,,,val\n"
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=4)), min_size=1, max_size=6))
def test_a_damaged_list_gives_an_account_or_a_sentence(
    tmp_path: Path, pictures: Path, edits: list[tuple[int, bytes]]
) -> None:
    content = bytearray(GOOD.encode())
    for place, piece in edits:
        content[place : place + len(piece)] = piece
    path = tmp_path / "damaged.csv"
    path.write_bytes(bytes(content))
    with contextlib.suppress(UserError):  # any other exception is a bug
        written = read_table(path, pictures).write(tmp_path / "d", overwrite=True)
        assert len(PreparedDataset.open(written).facts) >= 1


def test_it_runs_by_itself_and_speaks_in_exit_codes(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": "one.png", "subject": "dog"}))
    command = [sys.executable, "-m", "data_prep.table", "list.jsonl", "--images", str(pictures), "--out", "d"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Prepared d" in done.stdout
    wrong = subprocess.run(
        [*command[:3], "none.csv", "--out", "e"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "error: none.csv does not exist" in wrong.stderr
