"""Stanford VRD: official files written by hand, with the defects of the real ones; and what all sources share."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from source_checks import damage, rejected, rows

from data_prep import vrd
from data_prep.assemble import Options, assemble
from data_prep.vrd import VrdReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

OBJECTS = ["person", "street", "tree"]
PREDICATES = ["on", "next to"]


def thing(category: int, *bbox: float) -> dict[str, Any]:
    return {"category": category, "bbox": list(bbox)}


def relation(predicate: int, subject: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"predicate": predicate, "subject": subject, "object": other}


PERSON, STREET, TREE = thing(0, 3, 14, 1, 20), thing(1, 1, 16, 1, 20), thing(2, 2, 9, 5, 8)
TRAIN: dict[str, Any] = {
    "a.jpg": [relation(0, PERSON, STREET), relation(1, PERSON, TREE), relation(0, PERSON, STREET)],
    "b.png": [relation(1, TREE, TREE), relation(7, PERSON, TREE), relation(0, thing(3, 1, 2, 1, 2), TREE)],
    "c.jpg": [relation(0, PERSON, STREET), relation(0, TREE, thing(1, 9, 4, 5, 6)), {"predicate": 0}],
    "empty.jpg": [],
}
TEST: dict[str, Any] = {"4392556686_44d71ff5a0_o.jpg": [relation(0, PERSON, STREET)]}
GRAPHS = [
    {
        "photo_id": 1,
        "filename": "a.jpg",
        "width": 20,
        "height": 16,
        "objects": [
            {"bbox": {"x": 2, "y": 3, "w": 5, "h": 6}, "names": ["person"], "attributes": [{"attribute": "Tall"}]},
            {"bbox": {"x": 2, "y": 3, "w": 5}, "names": ["person"]},
        ],
        "relationships": [],
    }
]


def write(folder: Path, **files: Any) -> Path:
    """Write the official files; a value of None leaves one out, text is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    official = {"annotations_train": TRAIN, "annotations_test": TEST, "objects": OBJECTS, "predicates": PREDICATES}
    for name, value in {**official, **files}.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "c.jpg", "4392556686_44d71ff5a0_o.gif"):
        Image.fromarray(generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(folder / name)
    return folder


def prepared(tmp_path: Path, **options: Any) -> PreparedDataset:
    source, images = write(tmp_path / "vrd"), pictures(tmp_path / "pictures")
    return PreparedDataset.open(assemble("vrd", VrdReader(source), tmp_path / "out", images, Options(**options)))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, orders=(3,), validation=0)
    assert {row[:3] for row in rows(dataset)} == {
        ("a", "<person, on, street>", "train"),
        ("a", "<person, next to, tree>", "train"),
        ("c", "<person, on, street>", "train"),
        ("4392556686_44d71ff5a0_o", "<person, on, street>", "test"),
    }
    table = pq.read_table(dataset.folder / "instances.parquet").to_pylist()
    beside = next(row for row in table if dataset.facts[row["fact_id"]].predicate == "next to")
    assert beside["subject_box"] == [0, 2, 20, 14]  # [ymin 3, ymax 14, xmin 1, xmax 20], 1-based and inclusive
    assert beside["object_box"] == [4, 1, 8, 9]
    assert beside["box"] == [0, 1, 20, 14]
    assert beside["source"] == "annotations_train.json#a.jpg/1"
    reasons = [(reason, source) for reason, source in rejected(dataset) if reason != "not asked for"]
    assert sorted(reasons) == [
        ("degenerate box", "annotations_train.json#c.jpg/1"),
        ("duplicate", "annotations_train.json#a.jpg/2"),
        ("index out of range", "annotations_train.json#b.png/1"),
        ("index out of range", "annotations_train.json#b.png/2"),
        ("malformed record", "annotations_train.json#c.jpg/2"),
        ("missing image", "annotations_train.json#empty.jpg"),
        ("self relation", "annotations_train.json#b.png/0"),
    ]


def test_objects_are_facts_once_and_attributes_come_from_the_scene_graphs(tmp_path: Path) -> None:
    source, images = write(tmp_path / "vrd", sg_train_annotations=GRAPHS), pictures(tmp_path / "pictures")
    out = assemble("vrd", VrdReader(source), tmp_path / "out", images, Options(validation=0))
    dataset = PreparedDataset.open(out)
    mine = Counter(fact for image, fact, *_ in rows(dataset) if image == "a")
    assert mine == {
        "<person>": 2,  # the box of the annotations, and that of the scene graph
        "<street>": 1,
        "<tree>": 1,
        "<person, tall>": 1,
        "<person, on, street>": 1,
        "<person, next to, tree>": 1,
    }
    assert ("a", "<person, tall>", "train", [2, 3, 7, 9], None) in rows(dataset)
    assert ("malformed record", "sg_train_annotations.json#0/1") in rejected(dataset)


def test_files_are_found_by_stem_and_a_gif_is_decoded_by_content(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, verify="full")
    path = next(path for path in dataset.paths if path.stem.startswith("4392556686"))
    assert path.suffix == ".gif"
    assert dataset.images["sha256"].to_pylist().count(None) == 0


@pytest.mark.parametrize("store", ["copy", "link"])
def test_pictures_can_be_kept_inside(tmp_path: Path, store: str) -> None:
    dataset = prepared(tmp_path, store=store)
    assert all(path.is_relative_to(dataset.folder) and path.is_file() for path in dataset.paths)
    linked = dataset.paths[0].stat().st_nlink
    assert linked == (2 if store == "link" else 1)


def test_without_pictures_there_are_annotations_alone(tmp_path: Path) -> None:
    out = assemble("vrd", VrdReader(write(tmp_path / "vrd")), tmp_path / "out")
    dataset = PreparedDataset.open(out)
    assert "Prepared without its pictures" in " ".join(dataset.description["notes"])
    assert not any(path.exists() for path in dataset.paths)


def test_a_broken_picture_is_left_out(tmp_path: Path) -> None:
    source, images = write(tmp_path / "vrd"), pictures(tmp_path / "pictures")
    whole = (images / "a.jpg").read_bytes()
    (images / "a.jpg").write_bytes(whole[: len(whole) // 2])
    out = assemble("vrd", VrdReader(source), tmp_path / "out", images, Options(verify="full"))
    assert ("unreadable image", "annotations_train.json#a.jpg") in rejected(PreparedDataset.open(out))


def test_the_same_bytes_in_two_parts_are_kept_in_the_test_part(tmp_path: Path) -> None:
    source, images = write(tmp_path / "vrd"), pictures(tmp_path / "pictures")
    (images / "a.jpg").unlink()
    (images / "a.gif").write_bytes((images / "4392556686_44d71ff5a0_o.gif").read_bytes())
    dataset = PreparedDataset.open(
        assemble("vrd", VrdReader(source), tmp_path / "out", images, Options(verify="full", validation=0))
    )
    assert ("conflicting part", "annotations_train.json#a.jpg") in rejected(dataset)
    assert set(dataset.images["image_id"].to_pylist()) == {"b", "c", "4392556686_44d71ff5a0_o"}


def test_rare_facts_are_left_out_and_told(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, orders=(3,), min_images=2)
    assert [str(fact) for fact in dataset.facts] == ["<person, on, street>"]
    assert ("rare fact", "annotations_train.json#a.jpg/1") in rejected(dataset)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    one, two = prepared(tmp_path / "x"), prepared(tmp_path / "y")
    for name in ("facts.parquet", "instances.parquet", "rejected.jsonl"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"objects": None}, r"objects\.json does not exist: it should be VRD's list of object names"),
        ({"objects": "[1, 2]"}, r"objects\.json, entry 0: 1 is not a name"),
        ({"annotations_train": "not json"}, r"annotations_train\.json is not valid JSON \(line 1"),
        ({"annotations_train": "[]"}, r"annotations_train\.json holds a list, not a dict"),
        ({"annotations_train": "{}"}, r"annotations_train\.json is empty"),
        ({"annotations_train": '{"images": []}', "annotations_test": None}, "holds no labelled picture"),
        ({"annotations_train": "[" * 100_000}, r"annotations_train\.json is not valid JSON"),
        ({"annotations_train": None, "annotations_test": None}, "holds neither annotations_train.json nor"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    source = write(tmp_path / "vrd", **files)
    with pytest.raises(UserError, match=sentence):
        assemble("vrd", VrdReader(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_no_unicode_is_told(tmp_path: Path) -> None:
    broken = '{"\\ud800.jpg": ' + json.dumps(TRAIN["a.jpg"]) + "}"
    dataset = PreparedDataset.open(
        assemble("vrd", VrdReader(write(tmp_path / "vrd", annotations_train=broken)), tmp_path / "out")
    )
    assert ("malformed record", "annotations_train.json#\\ud800.jpg") in rejected(dataset)


@pytest.mark.parametrize(
    ("options", "sentence"), [({"orders": (4,)}, "--orders"), ({"validation": float("nan")}, "--validation")]
)
def test_wrong_options_are_told(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Options(**options)


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    source, images = write(tmp_path / "vrd"), pictures(tmp_path / "pictures")
    options = Options(verify="none")

    def attempt(trial: int) -> None:
        given = images if trial % 2 else None
        assemble("vrd", VrdReader(source), tmp_path / "outs" / str(trial), given, options)

    endings = damage([source / "annotations_train.json"], attempt, trials=300)
    assert min(endings["data set"], endings["sentence"]) > 20


def test_names_other_than_the_authors_are_told(tmp_path: Path) -> None:
    """A copy that is passed round has 'motorbike' where the authors have 'motorcycle'."""
    objects, predicates = vrd.OBJECTS.split(", "), vrd.PREDICATES.split(", ")
    assert (len(objects), len(predicates)) == (100, 70)
    named = write(tmp_path / "a", objects=objects, predicates=predicates)
    assert not [note for note in VrdReader(named).about.notes if "names" in note]
    objects[18] = "motorbike"
    named = write(tmp_path / "b", objects=objects, predicates=predicates)
    told = [note for note in VrdReader(named).about.notes if "names" in note]
    assert told == ["objects.json differs from the authors' list in 1 names, such as 'motorbike' for 'motorcycle'."]
