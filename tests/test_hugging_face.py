"""A prepared folder loads with Hugging Face `datasets` as it is, from its card."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from small_run import small_data

from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.format import TABLES
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.facts import Fact

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with all that may lie in its folder: a split, a cache, rejects, pictures."""
    folder = tmp_path_factory.mktemp("hugging face")
    data = small_data(folder).folder
    (data / "cache").mkdir()
    shutil.copy(data / "facts.parquet", data / "cache" / "train.parquet")
    (data / "rejected.jsonl").write_text('{"source": "x", "reason": "missing image", "detail": "x"}\n')
    shutil.copytree(folder / "pictures", data / "images")
    return folder


def loaded(home: Path, name: str) -> dict[str, Any]:
    """Load a table in a process of its own, where `datasets` reads that it is offline when it is imported."""
    code = (
        "import json, sys, datasets\n"
        "found = datasets.load_dataset(sys.argv[1], sys.argv[2], cache_dir=sys.argv[3])\n"
        "part = found['full'].filter(lambda row: row.get('split') == 'test')\n"
        "print(json.dumps({'splits': list(found), 'rows': found['full'].to_list(), 'test': len(part)}))\n"
    )
    command = [sys.executable, "-c", code, str(home / "data"), name, str(home / "hf")]
    environment = {**os.environ, **OFFLINE, "HF_HOME": str(home / "hf")}
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    tree: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return tree


@pytest.mark.parametrize("name", TABLES)
def test_each_table_is_what_pyarrow_reads(home: Path, name: str) -> None:
    found, wanted = loaded(home, name), pq.read_table(home / "data" / f"{name}.parquet").to_pylist()
    assert found["splits"] == ["full"]
    assert found["rows"] == wanted
    assert found["test"] == sum(row.get("split") == "test" for row in wanted)
    assert found["test"] > 0 or name == "facts"


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    text = card.removeprefix("---").partition("\n---\n")[0]
    tree: dict[str, Any] = yaml.safe_load(text)
    return tree


def write(folder: Path, name: str, licence: str) -> Path:
    builder = DatasetBuilder(name, about={"licence": licence})
    builder.add_image("x", "images/x.png", (4, 4), "train")
    builder.add_instance("x", Fact("dog"), "x")
    return builder.write(folder)


NAMES = ("photos", 'it\'s: a "test" # no comment', "été 日本 \u2028", "- [x]", "null", "---", "two\n---\nlines")


@pytest.mark.parametrize("name", NAMES)
def test_the_head_of_the_card_is_yaml_whatever_the_name(tmp_path: Path, name: str) -> None:
    tree = front_matter((write(tmp_path / "d", name, "none") / "README.md").read_text(encoding="utf-8"))
    assert tree == {
        "pretty_name": name,
        "configs": [
            {"config_name": table, "data_files": [{"split": "full", "path": f"{table}.parquet"}]}
            for table in ("images", "facts", "instances")
        ],
    }


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("MIT", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("annotations: CC BY 4.0; pictures: Flickr, their owners'", None),
        ("as the pictures' owner states", None),
    ],
)
def test_a_licence_is_named_only_where_it_is_one(tmp_path: Path, licence: str, identifier: str | None) -> None:
    card = (write(tmp_path / "d", "small", licence) / "README.md").read_text(encoding="utf-8")
    assert front_matter(card).get("license") == identifier
    assert f"- Licence: {licence}" in card


def test_the_card_tells_how_to_load_and_is_no_part_of_the_fingerprint(home: Path) -> None:
    dataset = PreparedDataset.open(home / "data")
    card = (dataset.folder / "README.md").read_text(encoding="utf-8")
    assert 'load_dataset("path/to/this/folder", "instances", split="full")' in card
    assert "README.md" not in dataset.description["files"]
    before = dataset.fingerprint
    (dataset.folder / "README.md").write_text("mine")
    try:
        assert PreparedDataset.open(home / "data").fingerprint == before
    finally:
        (dataset.folder / "README.md").write_text(card, encoding="utf-8")
