"""Every source's command: its help, its errors, and a data set from the command line."""

from __future__ import annotations

import json
import os
from importlib.metadata import entry_points
from pathlib import Path

import pyarrow.compute as pc
import pytest
from test_cli import fails, run
from test_vrd import pictures, write

from mas_triplets.data.prepared import PreparedDataset

SOURCES = sorted(point.name for point in entry_points(group="mas_triplets.sources") if point.name != "scenes")


@pytest.mark.parametrize("source", SOURCES)
def test_help_and_a_path_that_is_not_there(tmp_path: Path, source: str) -> None:
    assert "--out" in run("prepare", source, "--help", cwd=tmp_path).stdout
    fails("prepare", source, "absent", "--out", "out", cwd=tmp_path, says="absent")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_folder_is_told(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    fails("prepare", source, "empty", "--out", "out", cwd=tmp_path, says="empty")
    assert not (tmp_path / "out").exists()


def test_options_common_to_all_sources(tmp_path: Path) -> None:
    write(tmp_path / "vrd")
    pictures(tmp_path / "pictures")
    done = run(
        *("prepare", "vrd", "vrd", "--images", "pictures", "--out", "data", "--orders", "3", "--store", "copy"),
        *("--verify-images", "full", "--json"),
        cwd=tmp_path,
    )
    assert json.loads(done.stdout)
    assert "where the authors published 4,000" in done.stderr
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["options"]["orders"] == [3]
    fails("prepare", "vrd", "vrd", "--out", "x", "--orders", "one", cwd=tmp_path, says="--orders is 'one'")
    fails("prepare", "vrd", "vrd", "--out", "x", "--images", "none", cwd=tmp_path, says="none is not a folder")
    fails("prepare", "vrd", "vrd", "--out", "data", cwd=tmp_path, says="already holds another prepared data set")


def test_a_data_set_without_pictures_is_refused_by_train(tmp_path: Path) -> None:
    write(tmp_path / "vrd")
    run("prepare", "vrd", "vrd", "--out", "data", "--orders", "3", cwd=tmp_path)
    run("split", "data", "--method", "random", "--tasks", "2", "--name", "two", cwd=tmp_path)
    (tmp_path / "c.yaml").write_text(
        "data: {path: data, split: two, unseen_facts: allow}\nmodel: {text: {name: random}}\n", encoding="utf-8"
    )
    fails("train", "c.yaml", "--out", "run", cwd=tmp_path, says="was prepared without its pictures")


def test_names_that_are_no_text_and_the_root_are_told(tmp_path: Path) -> None:
    write(tmp_path / "vrd")
    fails("prepare", "vrd", "vrd", "--out", os.fsdecode(b"o\xe9"), cwd=tmp_path, says="is not valid Unicode text")
    fails(
        "prepare",
        "vrd",
        "vrd",
        "--out",
        "d",
        "--name",
        os.fsdecode(b"n\xe9"),
        cwd=tmp_path,
        says="is not valid Unicode",
    )
    fails("prepare", "vrd", "vrd", "--out", "/", cwd=tmp_path, says="error: / exists and is not a prepared data set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vrd"]


def test_one_file_is_read_alone(tmp_path: Path) -> None:
    write(tmp_path / "vrd")
    both, alone = tmp_path / "both", tmp_path / "alone"
    run("prepare", "vrd", "vrd", "--out", both, "--validation", "0", cwd=tmp_path)
    run("prepare", "vrd", "vrd/annotations_test.json", "--out", alone, "--validation", "0", cwd=tmp_path)
    images = PreparedDataset.open(both).images
    of_test = images.filter(pc.equal(images["split"], "test"))["image_id"].to_pylist()
    assert PreparedDataset.open(alone).images["image_id"].to_pylist() == of_test
    fails("prepare", "vrd", "vrd/objects.json", "--out", "x", cwd=tmp_path, says="holds neither annotations_train.json")


def test_a_name_that_stands_twice_in_an_object_is_told(tmp_path: Path) -> None:
    write(tmp_path / "vrd")
    path = tmp_path / "vrd" / "annotations_test.json"
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "a.jpg": [], "a.jpg": []}')
    fails(
        "prepare", "vrd", "vrd", "--out", "x", cwd=tmp_path, says="annotations_test.json has 'a.jpg' twice at its top"
    )
