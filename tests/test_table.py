"""`prepare table`: the user's own list, in whatever shape it comes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from source_checks import rejected

from data_prep import scenes
from data_prep.assemble import Options, assemble
from data_prep.table import TableReader, prepare
from mas_triplets.data.images import check_picture, read_picture
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


def prepared(path: Path, pictures: Path, out: Path, *, overwrite: bool = False, **options: Any) -> PreparedDataset:
    chosen = Options(**{"verify": "full", "validation": 0, **options})
    return PreparedDataset.open(assemble("list", TableReader(path), out, pictures, chosen, overwrite=overwrite))


def rejects(path: Path, pictures: Path) -> list[tuple[str, str]]:
    dataset = prepared(path, pictures, path.parent / "rejects", overwrite=True)
    return [(source, reason) for reason, source in rejected(dataset)]


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
    dataset = prepared(path, pictures, tmp_path / "d")
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
    dataset = prepared(path, pictures, tmp_path / "d")
    assert [str(fact) for fact in dataset.facts] == ["<cat>", "<dog, run>"]


def test_parts_are_carved_by_seed_where_none_are_given(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,subject\n" + "".join(f"{name},dog\n" for name in NAMES))
    one, again, other = (
        prepared(path, pictures, tmp_path / f"d{number}", validation=0.25, test=0.2, seed=seed)
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
        ("list.csv", b'image,"subject"x\na,b\n', "line 1: the names of the columns"),
        ("list.csv", b"image," + b"x" * 140_000 + b"\na,b\n", "line 1: the names of the columns"),
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
        prepared(tmp_path / name, pictures, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_missing_list_and_folder_are_told(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):  # the list comes first
        prepare(tmp_path / "none.csv", tmp_path / "d", tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a folder"):
        prepare(pictures, tmp_path / "d")
    (tmp_path / "list.csv").write_text("image,subject\none.png,dog\n")
    with pytest.raises(UserError, match="--images"):
        prepare(tmp_path / "list.csv", tmp_path / "d", tmp_path / "nowhere")
    for validation, test in ((float("nan"), 0.2), (0.2, float("nan"))):
        with pytest.raises(UserError, match="must be a share"):
            prepare(tmp_path / "list.csv", tmp_path / "d", pictures, validation=validation, test=test)


def test_an_open_quote_is_told_with_what_it_took(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('image,subject\none.png,dog\ntwo.jpg,"cat\nthree.png,dog\nfour.png,dog\n')
    dataset = prepared(path, pictures, tmp_path / "d")
    record = json.loads((dataset.folder / "rejected.jsonl").read_text())
    assert (record["source"], record["reason"]) == ("list.csv#3", "malformed record")
    assert "up to line 5" in record["detail"]
    path.write_text('image,subject\none.png,"dog"x\ntwo.jpg\ntwo.jpg,cat\n')
    assert rejects(path, pictures) == [("list.csv#2", "malformed record"), ("list.csv#3", "malformed record")]


def test_all_names_of_a_picture_are_one_picture(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    names = ("./one.png", "one.png", "sub/../one.png", str(pictures / "one.png"), "sub//five.png", "sub\\five.png")
    for order in (names, names[::-1]):
        path.write_text("image,subject\n" + "".join(f"{name},dog {n}\n" for n, name in enumerate(order)))
        dataset = prepared(path, pictures, tmp_path / f"d{order[0][0]}")
        assert dataset.images["image_id"].to_pylist() == ["one.png", "sub/five.png"]
        assert dataset.paths[0] == (pictures / "one.png").resolve()
    path.write_text("image,subject,split\n./one.png,dog,train\none.png,dog,test\n")
    assert rejects(path, pictures) == [("list.csv#3", "conflicting part")]


def test_a_later_row_gives_the_part_that_the_first_left_open(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,subject,split\none.png,dog,\none.png,cat,test\none.png,cow,\ntwo.jpg,dog,train\n")
    dataset = prepared(path, pictures, tmp_path / "d")
    assert dataset.images["split"].to_pylist() == ["test", "train"]
    assert not rejected(dataset)


@pytest.mark.parametrize(
    "text",
    [
        "image,subject,Objekt,zzzz\none.png,dog,,\n",
        '{"Image": "one.png", " SUBJECT": "dog", "Objekt": 1, "zzzz": 2}\n',
    ],
)
def test_unknown_columns_are_named(tmp_path: Path, pictures: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    dataset = prepared(path, pictures, tmp_path / "d")
    assert not rejected(dataset)
    assert [note.split(": ", 1)[1] for note in dataset.description["notes"][1:]] == [
        "the column 'objekt' is not known and was ignored; did you mean 'object'?",
        "the column 'zzzz' is not known and was ignored",
    ]


def test_what_json_can_spell_and_nothing_else_can(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "list.jsonl"
    records: list[dict[str, object]] = [
        {"image": "one.png", "subject": "dog", "subject_box": [0, 0, 10**400, 5]},
        {"image": "x" * 300, "subject": "dog"},
        {"image": "one\0.png", "subject": "dog"},
        {"image": "one\ud800.png", "subject": "dog"},
        {"image": "one.png", "subject": "dog\ud800"},
        {"image": "one.png", "subject": "dog", "Subject": "cat"},
        {"image": "one.png", "subject": "dog", "key\ud800": 1},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    assert [reason for _, reason in sorted(rejects(path, pictures))] == [
        "degenerate box",
        "missing image",
        "missing image",
        "malformed record",
        "malformed record",
        "malformed record",
    ]
    assert len(prepared(path, pictures, tmp_path / "d").facts) == 1


def test_sixteen_bit_grey_keeps_its_gradient(tmp_path: Path) -> None:
    gradient = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(gradient).save(tmp_path / name)
        pixels = np.asarray(read_picture(tmp_path / name))
        assert np.array_equal(pixels, np.repeat(np.arange(256).reshape(16, 16, 1), 3, axis=2))
        assert check_picture(tmp_path / name) == (16, 16)


def test_a_decoder_that_gives_up_is_told(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("Failed to decode frame 0")  # what Pillow raises for a damaged AVIF file

    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(UserError, match=r"one.png cannot be decoded.*frame 0"):
        read_picture(pictures / "one.png")
    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(UserError, match=r"one.png cannot be read.*frame 0"):
        read_picture(pictures / "one.png")


def test_a_seed_on_the_command_line_wins_over_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("{seed: 3, size: 32, train: 40, val: 4, test: 4}")
    for seed, used in ((None, 3), (0, 0)):
        scenes.prepare(tmp_path / f"d{used}", path, seed=seed, as_json=True)
        assert "scenes: records" in json.loads(capsys.readouterr().out)
        assert PreparedDataset.open(tmp_path / f"d{used}").description["options"]["seed"] == used


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
        assert len(prepared(path, pictures, tmp_path / "d", overwrite=True).facts) >= 1


def test_it_runs_by_itself_and_speaks_in_exit_codes(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": "one.png", "subject": "dog"}))
    command = [sys.executable, "-m", "data_prep.table", "list.jsonl", "--images", str(pictures), "--out", "d"]
    printed = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "d: records" in json.loads(printed.stdout)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Prepared d" in done.stdout
    wrong = subprocess.run(
        [*command[:3], "none.csv", "--out", "e"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "error: none.csv does not exist" in wrong.stderr
