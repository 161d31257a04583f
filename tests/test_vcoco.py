"""V-COCO in its three forms, written by hand as the authors and those who re-packed it give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_checks import damage, reasons, rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.vcoco import vcoco_reader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

NAME = "COCO_train2014_000000000009"


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def prepared(source: Path, out: Path, **options: Any) -> PreparedDataset:
    return PreparedDataset.open(assemble("v", vcoco_reader(source), out, options=Options(validation=0, **options)))


INSTANCES = {
    "images": [{"id": n, "file_name": f"COCO_train2014_{n:012d}.jpg", "width": 100, "height": 80} for n in (9, 25)],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 1, "bbox": [10.5, 20, 30, 40], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 28, "bbox": [90, 70, 30, 30], "iscrowd": 0},  # beyond the picture
        {"id": 5, "image_id": 77, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": 0},  # no such picture
        {"id": 7, "image_id": 25, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 28, "name": "umbrella"}],
}


ORIGINAL: list[dict[str, Any]] = [
    {
        "image_id": [9, 9, 25],
        "ann_id": [1, 2, 7],
        "label": [1, 0, 1],
        "action_name": "hit",
        "role_name": ["agent", "instr", "obj"],
        # row-major by role: three agents, three instruments, three objects
        "role_object_id": [1, 2, 7, 2, 0, 0, 0, 0, 2],
        "include": [[], [], []],
    },
    {
        "image_id": [9, 9, 25],
        "ann_id": [1, 2, 7],
        "label": [1, 0, 0],
        "action_name": "walk",
        "role_name": ["agent"],
        "role_object_id": [1, 2, 7],
        "include": [[]],
    },
    {
        "image_id": [9, 25, 25],
        "ann_id": [99, 7, 7],
        "label": [1, 1, 2],
        "action_name": "hold",
        "role_name": ["agent", "obj"],
        "role_object_id": [99, 7, 7, 0, 0, 0],
        "include": [[], []],
    },
]


def test_the_original_takes_boxes_from_coco(tmp_path: Path) -> None:
    dump(tmp_path / "v" / "data" / "vcoco" / "vcoco_train.json", ORIGINAL)
    dump(tmp_path / "v" / "coco" / "instances_train2014.json", INSTANCES)
    dataset = prepared(tmp_path / "v", tmp_path / "out", orders=(2, 3))
    person, umbrella, other = [10.5, 20, 40.5, 60], [90, 70, 100, 80], [1, 2, 4, 6]
    assert sorted(rows(dataset), key=str) == sorted(
        [
            ("9", "<person, hit with, umbrella>", "train", person, umbrella),
            ("9", "<person, walk>", "train", person, None),
            ("25", "<person, hold>", "train", other, None),
            ("25", "<person, hit, umbrella>", "train", other, umbrella),
        ],
        key=str,
    )
    found = reasons(dataset)
    assert (found["orphan id"], found["malformed record"]) == (2, 1)  # COCO's own, and V-COCO's


def test_numbers_in_lists_of_their_own_are_the_same(tmp_path: Path) -> None:
    """The authors' loader makes columns N x 1 of image_id, ann_id and label; dumped anew, each number has a list."""
    wrapped = [
        {
            key: [[number] for number in value] if key in ("image_id", "ann_id", "label") else value
            for key, value in a.items()
        }
        for a in ORIGINAL
    ]
    found = []
    for name, actions in (("flat", ORIGINAL), ("wrapped", wrapped)):
        dump(tmp_path / name / "vcoco_train.json", actions)
        dump(tmp_path / name / "instances_train2014.json", INSTANCES)
        found.append(rows(prepared(tmp_path / name, tmp_path / "outs" / name)))
    assert found[0] == found[1]
    assert found[0]


PAIRS: dict[str, Any] = {
    "annotations": [
        {
            "boxes_h": [[10, 10, 40, 60], [10, 10, 40, 60], [10, 10, 40, 60]],
            "boxes_o": [[30, 20, 50, 40], [30, 20, 50, 40], [1, 1, 5, 5]],
            "actions": [0, 1, 2],
            "objects": [2, 2, 9],
            "file_name": f"{NAME}.jpg",
        },
        {"boxes_h": [], "boxes_o": [], "actions": [], "objects": [], "file_name": "COCO_train2014_000000000025.jpg"},
        {"boxes_h": [[1, 1, 2, 2]], "boxes_o": [], "actions": [0], "objects": [1], "file_name": "COCO_x_1.jpg"},
    ],
    "classes": ["hold obj", "hit instr", "talk_on_phone instr"],
    "objects": ["background", "person", "umbrella"],
    "images": [9, 25, 1],
}


def test_repacked_pairs(tmp_path: Path) -> None:
    dump(tmp_path / "v" / "instances_vcoco_train.json", PAIRS)
    dataset = prepared(tmp_path / "v", tmp_path / "out")
    assert sorted(rows(dataset)) == [
        (NAME, "<person, hit with, umbrella>", "train", [10, 10, 40, 60], [30, 20, 50, 40]),
        (NAME, "<person, hold, umbrella>", "train", [10, 10, 40, 60], [30, 20, 50, 40]),
        (NAME, "<person>", "train", [10, 10, 40, 60], None),  # once, though it is in two pairs
        (NAME, "<umbrella>", "train", [30, 20, 50, 40], None),
    ]
    assert reasons(dataset) == {"index out of range": 1, "malformed record": 1}


def test_the_first_version_of_the_pairs_has_coco_numbers_and_no_names(tmp_path: Path) -> None:
    columns = {**PAIRS["annotations"][0], "objects": [28.0, 28.0, 12.0]}  # as the authors' first files: 12 is nothing
    content = {"annotations": [columns], "classes": PAIRS["classes"], "images": [9]}
    dump(tmp_path / "v" / "instances_vcoco_trainval.json", content)
    dataset = prepared(tmp_path / "v", tmp_path / "out")
    facts = ["<person, hit with, umbrella>", "<person, hold, umbrella>", "<person>", "<umbrella>"]
    assert sorted(row[1] for row in rows(dataset)) == facts
    assert reasons(dataset) == {"index out of range": 1}


def pair(person: Any, thing: Any, verb: Any) -> dict[str, Any]:
    return {"subject_id": person, "object_id": thing, "category_id": verb}


LIST: list[Any] = [
    {
        "file_name": f"{NAME}.jpg",
        "annotations": [
            {"category_id": 28, "bbox": [30.5, 20.0, 50.0, 40.25]},
            {"category_id": 1, "bbox": [10.0, 10.0, 40.0, 60.0]},
            {"category_id": 1, "bbox": [0.0, 0.0, 20.0, 60.0]},
            {"category_id": 12, "bbox": [0, 0, 1, 1]},
        ],
        "hoi_annotation": [
            pair(1, 0, 0),  # hold obj
            pair(1, -1, 1),  # stand
            pair(1, 0, 6),  # hit instr
            pair(1, -1, 7),  # hit obj, which is not marked
            pair(2, -1, 9),  # eat instr
            pair(2, -1, 8),  # eat obj: neither is marked
            pair(2, -1, 23),  # smile
            pair(2, -1, 26),  # point instr
            pair(2, 3, 0),
            pair(2, 4, 0),
            pair(2, 0, 29),
            pair(2.5, 0, 0),
        ],
    },
    {"file_name": "COCO_train2014_000000000025.jpg", "annotations": [], "hoi_annotation": []},
    {"file_name": 25, "annotations": [], "hoi_annotation": []},
]


def test_a_list_in_the_form_of_hoi_a(tmp_path: Path) -> None:
    dump(tmp_path / "v" / "annotations" / "trainval_vcoco.json", LIST)
    test = [{**LIST[0], "file_name": "COCO_val2014_000000000042.jpg", "hoi_annotation": [pair("1\n", "0", "28\n")]}]
    dump(tmp_path / "v" / "annotations" / "test_vcoco.json", test)
    dataset = prepared(tmp_path / "v", tmp_path / "out")
    first, second, umbrella = [10, 10, 40, 60], [0, 0, 20, 60], [30.5, 20, 50, 40.25]
    assert sorted(rows(dataset), key=str) == sorted(
        [
            (NAME, "<person, hold, umbrella>", "train", first, umbrella),
            (NAME, "<person, stand>", "train", first, None),
            (NAME, "<person, hit with, umbrella>", "train", first, umbrella),
            (NAME, "<person, eat>", "train", second, None),
            (NAME, "<person, smile>", "train", second, None),
            (NAME, "<person, point>", "train", second, None),
            (NAME, "<person>", "train", first, None),
            (NAME, "<person>", "train", second, None),
            (NAME, "<umbrella>", "train", umbrella, None),
            ("COCO_val2014_000000000042", "<person, snowboard, umbrella>", "test", first, umbrella),
            ("COCO_val2014_000000000042", "<person>", "test", first, None),
            ("COCO_val2014_000000000042", "<umbrella>", "test", umbrella, None),
        ],
        key=str,
    )
    assert rejected(dataset) == [
        ("index out of range", "trainval_vcoco.json#0/10"),
        ("index out of range", "trainval_vcoco.json#0/8"),
        ("index out of range", "trainval_vcoco.json#0/9"),
        ("malformed record", "trainval_vcoco.json#0/11"),
        ("malformed record", "trainval_vcoco.json#2"),
    ]


def test_verbs_in_another_order_are_told(tmp_path: Path) -> None:
    """PPDM's own lists of V-COCO have the same names and 29 other numbers; 4 is cut there and walk here."""
    dump(tmp_path / "v" / "trainval_vcoco.json", [{**LIST[0], "hoi_annotation": [pair(1, 0, 4), pair(1, 0, 18)]}])
    with pytest.raises(UserError, match=r"trainval_vcoco\.json: .* numbered in another order"):
        prepared(tmp_path / "v", tmp_path / "out")


def test_the_form_that_has_training_pictures_is_taken(tmp_path: Path) -> None:
    """QPIC's folder has the authors' test file, for the evaluation, beside its own lists."""
    dump(tmp_path / "v" / "data" / "vcoco_test.json", ORIGINAL)
    dump(tmp_path / "v" / "data" / "instances_vcoco_all_2014.json", INSTANCES)
    dump(tmp_path / "v" / "annotations" / "trainval_vcoco.json", LIST)
    reader = vcoco_reader(tmp_path / "v")
    assert [file.name for file in reader.files] == ["trainval_vcoco.json"]
    assert "There is no file of the part test." in reader.about.notes
    assert reader.about.published == {"train": 5400}


def test_trainval_is_not_read_beside_its_halves(tmp_path: Path) -> None:
    for name in ("train", "val", "trainval"):
        dump(tmp_path / "v" / f"instances_vcoco_{name}.json", PAIRS)
    assert vcoco_reader(tmp_path / "v").about.published == {"train": 2533, "val": 2867}
    (tmp_path / "v" / "instances_vcoco_val.json").unlink()
    assert vcoco_reader(tmp_path / "v").about.published == {"train": 5400}


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("other.json", "{}", "holds neither vcoco_train.json nor"),
        ("vcoco_train.json", "[]", "lacks COCO's instances"),
        ("instances_vcoco_train.json", '{"annotations": []}', "has no list 'classes'"),
        ("instances_vcoco_train.json", '{"annotations": [], "classes": [], "objects": null}', "has no list 'objects'"),
        ("instances_vcoco_val.json", "{", "is not valid JSON"),
        ("trainval_vcoco.json", "", "is not valid JSON"),
        ("trainval_vcoco.json", '{"annotations": []}', "holds a dict, not a list"),
        ("test_vcoco.json", "[1, null]", "holds no labelled picture .*: 1 is not an object"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, file: str, content: str, sentence: str) -> None:
    dump(tmp_path / "source" / file, content)
    with pytest.raises(UserError, match=sentence):
        assemble("x", vcoco_reader(tmp_path / "source"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"instances_vcoco_train.json": PAIRS},
        {"vcoco_train.json": ORIGINAL, "instances_train2014.json": INSTANCES},
        {"trainval_vcoco.json": LIST},
    ],
)
def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path, files: dict[str, Any]) -> None:
    source = tmp_path / "source"
    for name, value in files.items():
        dump(source / name, value)
    endings = damage(
        [source / name for name in files],
        lambda trial: assemble("x", vcoco_reader(source), tmp_path / "outs" / str(trial)),
    )
    assert min(endings["data set"], endings["sentence"]) > 10
