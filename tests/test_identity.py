"""One picture is one picture: whatever it is called and wherever it lies, it is in one part."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from source_checks import rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.identity import collect, decide
from data_prep.image_folder import ImageFolderReader
from data_prep.pictures import Found, stored_name
from data_prep.records import Picture
from mas_triplets.data.prepared import PreparedDataset


def paint(path: Path, shade: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


def prepared(folder: Path, out: Path, **options: Any) -> PreparedDataset:
    made = assemble("f", ImageFolderReader(folder), out, options=Options(verify="full", **options))
    return PreparedDataset.open(made)


def test_copies_in_one_part_share_their_labels(tmp_path: Path) -> None:
    paint(tmp_path / "f" / "owl" / "1.png", 10)
    paint(tmp_path / "f" / "bird" / "other.png", 10)  # the same bytes under another name
    paint(tmp_path / "f" / "owl" / "2.png", 20)
    dataset = prepared(tmp_path / "f", tmp_path / "out", validation=0, test=0)
    assert [row[:2] for row in rows(dataset)] == [
        ("bird/other.png", "<bird>"),
        ("bird/other.png", "<owl>"),
        ("owl/2.png", "<owl>"),
    ]
    assert rejected(dataset) == [("duplicate", "owl/1.png")]


def test_of_copies_in_two_parts_the_one_for_judging_stays(tmp_path: Path) -> None:
    for part, shade in (("train", 10), ("val", 10), ("test", 10), ("train", 30)):
        paint(tmp_path / "f" / part / "owl" / f"{part}{shade}.png", shade)
    dataset = prepared(tmp_path / "f", tmp_path / "out")
    assert [row[:3] for row in rows(dataset)] == [
        ("test/owl/test10.png", "<owl>", "test"),
        ("train/owl/train30.png", "<owl>", "train"),
    ]
    assert rejected(dataset) == [
        ("conflicting part", "train/owl/train10.png"),
        ("conflicting part", "val/owl/val10.png"),
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_picture_is_in_two_parts(data: st.DataObject) -> None:
    """Whatever origins, bytes, parts and sizes there are: those that are left share no key across names."""
    count = data.draw(st.integers(1, 12))
    parts, few = st.sampled_from(["train", "val", "test", None]), st.none() | st.sampled_from("abcd")
    given_pictures, found = [], {}
    for number in range(count):
        origin, digest = data.draw(few), data.draw(few)
        size = data.draw(st.sampled_from([(4, 4), (4, 5)]))
        picture = Picture(f"p{number}", f"p{number}.png", data.draw(parts), f"s#{number}", size, origin)
        given_pictures.append(picture)
        found[picture.image_id] = Found(sha256=digest and digest.upper())
    pictures, _ = collect(given_pictures)
    used = decide(pictures, found)
    left = [name for name in pictures if name not in used.refused and name not in used.same_as]
    groups: list[tuple[set[str], set[str]]] = []  # names that are one picture, by a chain of shared keys
    for name, picture in pictures.items():
        keys = {key for key in (picture.origin, found[name].sha256) if key}
        joined = [group for group in groups if group[1] & keys]
        groups = [group for group in groups if group not in joined]
        groups.append(({name}.union(*(group[0] for group in joined)), keys.union(*(group[1] for group in joined))))
    assert all(len(names & set(left)) == 1 for names, _ in groups)
    for name, other in used.same_as.items():
        assert other in left
        assert pictures[name].part in (None, pictures[other].part)
    shuffled = list(given_pictures)
    random.Random(0).shuffle(shuffled)
    assert decide(collect(shuffled)[0], found) == used


def test_names_inside_the_data_set_do_not_meet(tmp_path: Path) -> None:
    names = ["a/b", "a_b", "a b", "A_b", "ä" * 200, "ä" * 201, "x" * 300, ".", "..", "", "con.png"]
    stored = [stored_name(name, Path("p.PNG")) for name in names]
    assert len({name.casefold() for name in stored if "A_b" not in name}) == len(names) - 1
    assert all(len(Path(name).name.encode()) <= 160 and "/" not in name.removeprefix("images/") for name in stored)
    assert stored[1] == "images/a_b.png"  # a plain name stays as it is


def test_the_order_of_files_and_keys_changes_no_byte(tmp_path: Path) -> None:
    shades = {"b/2.png": 0, "a/1.png": 20, "b/1.png": 40}
    for name, order in (("one", list(shades)), ("two", list(shades)[::-1])):
        for file in order:
            paint(tmp_path / name / "f" / file, shades[file])
        prepared(tmp_path / name / "f", tmp_path / name / "out", validation=0, test=0, store="copy")
    files = sorted(path.name for path in (tmp_path / "one" / "out").iterdir() if path.is_file())
    assert "instances.parquet" in files
    for name in files:
        assert (tmp_path / "one" / "out" / name).read_bytes() == (tmp_path / "two" / "out" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_at_any_moment_it_leaves_no_half_made_data_set(tmp_path: Path, number: int) -> None:
    relation = {
        "predicate": 0,
        "subject": {"category": 0, "bbox": [1, 9, 1, 9]},
        "object": {"category": 1, "bbox": [2, 8, 2, 8]},
    }
    (tmp_path / "vrd").mkdir()
    (tmp_path / "vrd" / "objects.json").write_text(json.dumps([f"o{place}" for place in range(100)]))
    (tmp_path / "vrd" / "predicates.json").write_text(json.dumps([f"p{place}" for place in range(70)]))
    content = {f"{place}.jpg": [{**relation, "predicate": place % 70}] for place in range(20_000)}
    (tmp_path / "vrd" / "annotations_train.json").write_text(json.dumps(content))
    command = [sys.executable, "-m", "data_prep.vrd", "vrd", "--out", "out", "--json"]
    started = time.monotonic()
    subprocess.run([*command[:-2], "whole", "--json"], cwd=tmp_path, capture_output=True, check=True)
    takes = time.monotonic() - started
    chance = random.Random(number)
    for _ in range(5):
        running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.3, 1.0) * takes)
        running.send_signal(number)
        running.wait()
        if (tmp_path / "out").exists():
            assert len(PreparedDataset.open(tmp_path / "out").images) == 20_000
        if number != signal.SIGKILL:  # nobody can clean up after that one
            assert not list(tmp_path.glob(".out*"))
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    for name in ("images.parquet", "facts.parquet", "instances.parquet", "rejected.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
