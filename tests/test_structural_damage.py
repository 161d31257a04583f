"""Every JSON source with values of another kind in any place: a data set with an account of it, or a sentence."""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import test_coco
import test_gqa
import test_hico_det
import test_psg
import test_spatialsense
import test_swig
import test_vcoco
import test_visual_genome
import test_vrd

from data_prep.assemble import Options, assemble
from data_prep.coco import CocoReader
from data_prep.gqa import GqaReader
from data_prep.hico_det import HicoReader
from data_prep.psg import PsgReader
from data_prep.records import Reader
from data_prep.spatialsense import SpatialSenseReader
from data_prep.swig import SwigReader
from data_prep.vcoco import vcoco_reader
from data_prep.visual_genome import VisualGenomeReader
from data_prep.vrd import VrdReader
from mas_triplets.data.format import REASONS
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

TRIALS = 150
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, 10**400, -(10**400), 1e308, 1e-300, math.nan, math.inf, 2**31, 2**63),
    *("", " ", "x", "*", "_", "\ud800", "a\0b", "../../x", "/etc/passwd", "²", "1\n", "e" * 5000),
    *([], {}, [[]], [{}], [1, 2, 3, 4], [math.nan] * 4, [1e308] * 4, [-1e308, 0, 1e308, 5], ["a", "b"]),
]
FILES: dict[str, tuple[dict[str, Any], Callable[[Path], Reader]]] = {
    "coco": ({"instances_train2017": test_coco.TRAIN, "instances_val2017": test_coco.VAL}, CocoReader),
    "gqa": ({"train_sceneGraphs": test_gqa.TRAIN, "val_sceneGraphs": test_gqa.VAL}, GqaReader),
    "hico-det columns": ({"instances_train2015": test_hico_det.COLUMNS}, HicoReader),
    "hico-det list": ({"trainval_hico": test_hico_det.LIST, "test_hico": test_hico_det.TEST_LIST}, HicoReader),
    "psg": ({"psg": test_psg.OFFICIAL}, PsgReader),
    "spatialsense": ({"annotations": test_spatialsense.OFFICIAL}, SpatialSenseReader),
    "swig": (test_swig.OFFICIAL, SwigReader),
    "vcoco": ({"vcoco_train": test_vcoco.ORIGINAL, "instances_train2014": test_vcoco.INSTANCES}, vcoco_reader),
    "vcoco pairs": ({"instances_vcoco_train": test_vcoco.PAIRS}, vcoco_reader),
    "vcoco list": ({"trainval_vcoco": test_vcoco.LIST}, vcoco_reader),
}


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list and object in a tree with each index or key of it."""
    for key in range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, dict) else ():
        yield tree, key
        yield from places(tree[key])


def changed(tree: Any, chance: random.Random) -> Any:
    """Return the tree with another value, one value less, or one twice, at one to three places."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.randint(1, 3)):
        found = [*places(tree)]
        if not found:
            return chance.choice(VALUES)
        holder, key = chance.choice(found)
        what = chance.random()
        if what < 0.7:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
        elif what < 0.85:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[chance.choice(["", "\ud800", "x\0", "a" * 300, "²", "-1", "../x"])] = holder.pop(key)
    return tree


def check(dataset: PreparedDataset) -> None:
    """See that what came out is what the format promises."""
    table = pq.read_table(dataset.folder / "instances.parquet")
    for column in ("subject_box", "object_box", "box"):
        boxes = np.array([box for box in table[column].to_pylist() if box is not None]).reshape(-1, 4)
        assert np.isfinite(boxes).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes >= 0).all()
    for line in (dataset.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["reason"] in REASONS


def attempts(
    folder: Path, out: Path, trees: dict[str, Any], reader: Callable[[Path], Reader], seed: str
) -> Counter[str]:
    chance, endings = random.Random(seed), Counter[str]()
    for trial in range(TRIALS):
        name = chance.choice(sorted(trees))
        (folder / f"{name}.json").write_text(json.dumps(changed(trees[name], chance)), encoding="utf-8")
        options = Options(validation=0.5, min_images=chance.choice([1, 2]))
        try:
            check(PreparedDataset.open(assemble("x", reader(folder), out / str(trial), options=options)))
            endings["data set"] += 1
        except UserError as error:
            endings["several lines" if "\n" in str(error) else "sentence"] += 1
        (folder / f"{name}.json").write_text(json.dumps(trees[name]), encoding="utf-8")
    return endings


@pytest.mark.parametrize("source", FILES)
def test_values_of_another_kind_end_in_a_data_set_or_a_sentence(tmp_path: Path, source: str) -> None:
    trees, reader = FILES[source]
    folder = tmp_path / "source"
    folder.mkdir()
    for name, tree in trees.items():
        (folder / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")
    endings = attempts(folder, tmp_path / "outs", trees, reader, source)
    assert set(endings) == {"data set", "sentence"}


@pytest.mark.parametrize(
    ("write", "reader"), [(test_vrd.write, VrdReader), (test_visual_genome.write, VisualGenomeReader)]
)
def test_and_those_of_several_files(tmp_path: Path, write: Any, reader: Any) -> None:
    folder = write(tmp_path / "source")
    trees = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    endings = attempts(folder, tmp_path / "outs", trees, reader, reader.__name__)
    assert set(endings) == {"data set", "sentence"}
