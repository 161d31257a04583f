"""COCO and folders of classes: official files written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from source_checks import damage, reasons, rows

from data_prep.assemble import Options, assemble
from data_prep.coco import CocoReader
from data_prep.image_folder import ImageFolderReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


def coco(numbers: list[int], prefix: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "info": {},
        "licenses": [],
        "images": [
            {"id": n, "file_name": f"{prefix}{n:012d}.jpg", "width": 100, "height": 80, "flickr_url": "http://x/y"}
            for n in numbers
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 28, "name": "umbrella"}, {"id": 90, "name": "toothbrush"}],
    }


def annotation(number: int, image: int, category: int, *bbox: float, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        "area": 1.0,
        "iscrowd": crowd,
        "segmentation": [],
    }


TRAIN = coco(
    [9, 25],
    "",
    [
        annotation(1, 9, 1, 10.5, 20, 30, 40),
        annotation(2, 9, 28, 90, 70, 30, 30),  # reaches beyond the picture
        annotation(3, 9, 1, 0, 0, 100, 80, crowd=1),
        annotation(4, 25, 90, 5, 5, 0, 10),  # no width
        annotation(5, 77, 1, 1, 1, 2, 2),  # no such picture
        {"id": 6, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3]},
        annotation(7, 25, 1, 1, 2, 3, 4),
    ],
)
VAL = coco([9, 139], "", [annotation(8, 139, 28, 0, 0, 50, 40), annotation(9, 9, 1, 0, 0, 5, 5)])


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_coco_objects_are_facts_of_one_slot(tmp_path: Path) -> None:
    dump(tmp_path / "coco" / "annotations" / "instances_train2017.json", TRAIN)
    dump(tmp_path / "coco" / "annotations" / "instances_val2017.json", VAL)
    out = assemble("coco", CocoReader(tmp_path / "coco"), tmp_path / "out", options=Options(validation=0))
    dataset = PreparedDataset.open(out)
    # picture 9 is in both files: it is kept where models are judged, with the facts of both
    assert sorted(rows(dataset)) == [
        ("000000000009", "<person>", "test", [0, 0, 5, 5], None),
        ("000000000009", "<person>", "test", [10.5, 20, 40.5, 60], None),
        ("000000000009", "<umbrella>", "test", [90, 70, 100, 80], None),
        ("000000000025", "<person>", "train", [1, 2, 4, 6], None),
        ("000000000139", "<umbrella>", "test", [0, 0, 50, 40], None),
    ]
    assert reasons(dataset)["conflicting part"] == 1


def test_coco_boxes_and_rejects(tmp_path: Path) -> None:
    dump(tmp_path / "coco" / "instances_train2017.json", TRAIN)
    out = assemble("coco", CocoReader(tmp_path / "coco"), tmp_path / "out", options=Options(validation=0))
    dataset = PreparedDataset.open(out)
    assert sorted(rows(dataset)) == [
        ("000000000009", "<person>", "train", [10.5, 20, 40.5, 60], None),
        ("000000000009", "<umbrella>", "train", [90, 70, 100, 80], None),
        ("000000000025", "<person>", "train", [1, 2, 4, 6], None),
    ]
    assert reasons(dataset) == {"not asked for": 1, "degenerate box": 1, "orphan id": 1, "malformed record": 1}


def folder(tmp_path: Path, *names: str) -> Path:
    generator = np.random.default_rng(0)
    for name in names:
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(path)
    return tmp_path / "folder"


def test_a_folder_a_class(tmp_path: Path) -> None:
    names = [f"{kind}/{n}.png" for kind in ("Red_fox", "owl") for n in range(10)]
    path = folder(tmp_path, *names, "lonely.png")
    dataset = PreparedDataset.open(assemble("f", ImageFolderReader(path), tmp_path / "out"))
    assert [str(fact) for fact in dataset.facts] == ["<owl>", "<red fox>"]
    assert dataset.fact_counts().sum() == 20
    assert set(dataset.images["split"].to_pylist()) == {"train", "val", "test"}
    for image, place in zip(dataset.images["image_id"].to_pylist(), dataset.paths, strict=True):
        assert place == (path / image).resolve()  # the same stem in two classes is two pictures
    assert reasons(dataset) == {"malformed record": 1}


def test_a_folder_a_part_and_class(tmp_path: Path) -> None:
    path = folder(tmp_path, "train/owl/1.png", "train/fox/deep/1.png", "valid/owl/2.png", "test/owl/3.png")
    dataset = PreparedDataset.open(assemble("f", ImageFolderReader(path), tmp_path / "out"))
    assert {(image, part) for image, _, part, *_ in rows(dataset)} == {
        ("train/owl/1.png", "train"),
        ("train/fox/deep/1.png", "train"),
        ("valid/owl/2.png", "val"),
        ("test/owl/3.png", "test"),
    }


def test_parts_beside_classes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds train or test beside owl"):
        ImageFolderReader(folder(tmp_path, "train/owl/1.png", "owl/1.png"))


@pytest.mark.parametrize(
    ("file", "content", "reader", "sentence"),
    [
        ("instances_train2017.json", "[]", CocoReader, "holds a list, not a dict"),
        ("instances_train2017.json", '{"images": []}', CocoReader, "has no list 'annotations'"),
        ("other.json", "{}", CocoReader, "holds no instances_train2017.json"),
        ("note.txt", "", ImageFolderReader, "holds no picture"),
    ],
)
def test_bad_files_are_told(
    tmp_path: Path, file: str, content: str, reader: Callable[[Path], Any], sentence: str
) -> None:
    dump(tmp_path / "source" / file, content)
    with pytest.raises(UserError, match=sentence):
        assemble("x", reader(tmp_path / "source"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "source"
    dump(source / "instances_train2017.json", TRAIN)
    endings = damage(
        [source / "instances_train2017.json"],
        lambda trial: assemble("x", CocoReader(source), tmp_path / "outs" / str(trial)),
    )
    assert min(endings["data set"], endings["sentence"]) > 10


def test_pictures_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{folder}/1.jpg", "width": 9, "height": 9} for n, folder in ((1, "A"), (2, "B"))]
    boxes = [{"id": n, "image_id": n, "category_id": n, "bbox": [0, 0, 5, 5]} for n in (1, 2)]
    content = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    dump(tmp_path / "instances_train2017.json", content)
    out = assemble("coco", CocoReader(tmp_path), tmp_path / "out", options=Options(validation=0))
    assert [row[:2] for row in rows(PreparedDataset.open(out))] == [("A/1", "<cat>"), ("B/1", "<dog>")]
