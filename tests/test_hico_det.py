"""HICO-DET in its three forms, written by hand: the same pairs give the same facts and boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from source_checks import damage, fork_processes_of, reasons, rejected, rows

from data_prep import hico_mat, mat_files
from data_prep.assemble import Options, assemble
from data_prep.hico_det import HicoReader
from data_prep.mat_files import load_variable
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

NAME = "HICO_train2015_00000009"
MAT_PIECES = (b"\xff", b"\0", b"\x01", b"\x7f\xff\xff\xff", b"\x0e\0\0\0", b"")
ACTIONS = [("bicycle", "ride"), ("bicycle", "no_interaction"), ("sports_ball", "kick")]
COLUMNS = {
    "annotation": [
        {
            "boxes_h": [[1, 1, 10, 20], [1, 1, 10, 20], [3, 4, 5, 6]],
            "boxes_o": [[5, 6, 30, 40], [5, 6, 30, 40], [7, 8, 9, 10]],
            "hoi": [0, 1, 9],
            "object": [0, 0, 1],
            "verb": [0, 1, 9],
        }
    ],
    "filenames": [f"{NAME}.jpg"],
    "size": [[100, 80]],
    "empty": [],
    "objects": ["bicycle", "sports_ball"],
    "verbs": ["ride", "no_interaction", "kick"],
    "correspondence": [[0, 0, 0], [1, 0, 1], [2, 1, 2]],
}
LIST = [
    {
        "file_name": f"{NAME}.jpg",
        "img_id": 9,
        "annotations": [
            {"bbox": [0, 0, 9, 19], "category_id": 1},
            {"bbox": [4, 5, 29, 39], "category_id": "2\n"},  # as text with a line break, as PPDM's loader expects it
        ],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 1, "category_id": 77, "hoi_category_id": 19},
            {"subject_id": 0, "object_id": 1, "category_id": 58, "hoi_category_id": 24},
            {"subject_id": 0, "object_id": 7, "category_id": 77, "hoi_category_id": 19},
        ],
    }
]
TEST_LIST = [
    {
        "file_name": "HICO_test2015_00000001.jpg",
        "annotations": [{"bbox": [1, 1, 10, 20], "category_id": 1}, {"bbox": [5, 6, 30, 40], "category_id": 37}],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 1, "category_id": 45},
            {"subject_id": 0, "object_id": -1, "category_id": 45},
            {"subject_id": 0, "object_id": 1, "category_id": 118},
        ],
    },
    {"file_name": "HICO_test2015_00000002.jpg", "annotations": []},
]


def box(*sides: int) -> dict[str, int]:
    return dict(zip(("x1", "x2", "y1", "y2"), (sides[0], sides[2], sides[1], sides[3]), strict=True))


def structs(*records: dict[str, Any]) -> Any:
    """Return a Matlab struct array, 1 x n."""
    array = np.empty((1, len(records)), dtype=[(key, object) for key in records[0]])
    for place, record in enumerate(records):
        array[0, place] = tuple(record.values())
    return array


def write_mat(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    actions = [{"nname": thing, "vname": verb, "vname_ing": verb} for thing, verb in ACTIONS]
    savemat(folder / "anno.mat", {"list_action": structs(*actions).T})
    pair = {
        "bboxhuman": structs(box(1, 1, 10, 20)),
        "bboxobject": structs(box(5, 6, 30, 40)),
        "connection": np.array([[1, 1]]),
        "invis": 0,
    }
    beside = {**pair, "connection": np.array([[1.0, 1.0], [1.0, 2.0]])}
    unseen = {"bboxhuman": np.zeros((0, 0)), "bboxobject": np.zeros((0, 0)), "connection": np.zeros((0, 0)), "invis": 1}
    size = structs({"width": 100, "height": 80, "depth": 3})
    hois = structs({"id": 1.0, **beside}, {"id": 2, **pair}, {"id": 3, **unseen})
    picture = {"filename": f"{NAME}.jpg", "size": size, "hoi": hois}
    other = {"filename": "HICO_test2015_00000001.jpg", "size": size, "hoi": structs({"id": 3, **pair})}
    savemat(folder / "anno_bbox.mat", {"bbox_train": structs(picture), "bbox_test": structs(other)})
    return folder


def write_columns(folder: Path, content: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances_train2015.json").write_text(json.dumps(COLUMNS if content is None else content))
    return folder


def write_list(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainval_hico.json").write_text(json.dumps(LIST))
    return folder


def prepared(source: Path, out: Path, **options: Any) -> PreparedDataset:
    return PreparedDataset.open(assemble("hico", HicoReader(source), out, options=Options(validation=0, **options)))


@pytest.mark.parametrize("write", [write_mat, write_columns, write_list])
def test_the_three_forms_give_the_same_pairs(tmp_path: Path, write: Any) -> None:
    dataset = prepared(write(tmp_path / "hico"), tmp_path / "out")
    train = sorted((row for row in rows(dataset) if row[2] == "train"), key=str)
    person, bicycle = [0, 0, 10, 20], [4, 5, 30, 40]  # x1 y1 x2 y2, 1-based and inclusive, in the files
    assert [row for row in train if "," in row[1]] == [(NAME, "<person, ride, bicycle>", "train", person, bicycle)]
    assert (NAME, "<person>", "train", person, None) in train
    assert (NAME, "<bicycle>", "train", bicycle, None) in train
    unseen = {"no box": 1} if write is write_mat else {}  # the JSON forms do not have what cannot be seen
    assert reasons(dataset) == {"negative label": 1, "index out of range": 1, **unseen}


def test_the_mat_has_both_parts_and_sizes(tmp_path: Path) -> None:
    dataset = prepared(write_mat(tmp_path / "hico"), tmp_path / "out", orders=(3,))
    assert sorted(row[1:3] for row in rows(dataset)) == [
        ("<person, kick, sports ball>", "test"),
        ("<person, ride, bicycle>", "train"),
    ]
    assert dataset.images["width"].to_pylist() == [100, 100]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "anno.mat").unlink(), r"anno_bbox\.mat has no variable list_action"),
        (lambda folder: (folder / "anno_bbox.mat").write_bytes(b""), r"anno_bbox\.mat cannot be read as a Matlab file"),
        (lambda folder: savemat(folder / "anno_bbox.mat", {"x": 1}), "has no variable bbox_train"),
        (lambda folder: savemat(folder / "anno.mat", {"list_action": np.ones(3)}), "has no nname and vname"),
    ],
)
def test_bad_mat_files_are_told(tmp_path: Path, damage: Any, sentence: str) -> None:
    folder = write_mat(tmp_path / "hico")
    damage(folder)
    with pytest.raises(UserError, match=sentence):
        prepared(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "holds a list, not a dict"),
        ({"annotation": []}, "has no list 'filenames'"),
        ({**COLUMNS, "verbs": [1]}, "'verbs' is not a list of names"),
        ({**COLUMNS, "filenames": []}, "has 0 filenames for 1 pictures"),
    ],
)
def test_bad_columns_are_told(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(write_columns(tmp_path / "hico", content), tmp_path / "out")


def test_the_list_for_test_counts_from_one_and_has_no_number_of_the_interaction(tmp_path: Path) -> None:
    folder = write_list(tmp_path / "hico")
    (folder / "test_hico.json").write_text(json.dumps(TEST_LIST))
    dataset = prepared(folder, tmp_path / "out", orders=(3,))
    boxes = ([0, 0, 10, 20], [4, 5, 30, 40])  # the same as in the list for training, which counts from zero
    assert sorted(rows(dataset)) == [
        ("HICO_test2015_00000001", "<person, kick, sports ball>", "test", *boxes),
        (NAME, "<person, ride, bicycle>", "train", *boxes),
    ]
    found = rejected(dataset)
    assert ("malformed record", "test_hico.json#test/1") in found
    assert [source for reason, source in found if reason == "index out of range"] == [
        "test_hico.json#test/0/1",  # no thing
        "test_hico.json#test/0/2",  # HICO has 117 verbs
        "trainval_hico.json#train/0/2",
    ]


def test_a_list_for_training_without_a_box_at_zero_counts_from_one(tmp_path: Path) -> None:
    folder = write_list(tmp_path / "hico")
    moved = json.loads(json.dumps(LIST))
    for thing in moved[0]["annotations"]:
        thing["bbox"] = [side + 1 for side in thing["bbox"]]
    moved[0]["annotations"].append({"bbox": [0, 0, 0, 0], "category_id": 1})  # damage, and no sign of how it counts
    (folder / "trainval_hico.json").write_text(json.dumps(moved))
    dataset = prepared(folder, tmp_path / "out", orders=(3,))
    assert rows(dataset) == [(NAME, "<person, ride, bicycle>", "train", [0, 0, 10, 20], [4, 5, 30, 40])]


@pytest.mark.parametrize(
    ("write", "name"), [(write_columns, "instances_train2015.json"), (write_list, "trainval_hico.json")]
)
def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path, write: Any, name: str) -> None:
    folder = write(tmp_path / "hico")
    endings = damage([folder / name], lambda trial: prepared(folder, tmp_path / "outs" / str(trial)))
    assert min(endings["data set"], endings["sentence"]) > 10


def test_damaged_mat_files_end_in_a_data_set_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_processes_of(mat_files, monkeypatch, tmp_path)
    folder = write_mat(tmp_path / "hico")
    endings = damage(
        [folder / "anno_bbox.mat", folder / "anno.mat"],
        lambda trial: prepared(folder, tmp_path / "outs" / str(trial)),
        pieces=MAT_PIECES,
    )
    assert min(endings["data set"], endings["sentence"]) > 5


def test_what_a_mat_file_may_hold_ends_in_a_data_set_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables as plain values, with damage that leaves them JSON."""
    folder = write_mat(tmp_path / "hico")
    for name in ("anno", "anno_bbox"):
        for variable in ("list_action",) if name == "anno" else ("bbox_train", "bbox_test"):
            value = load_variable(folder / f"{name}.mat", variable, "HICO-DET's")
            (folder / f"{variable}.json").write_text(json.dumps(value))

    def load_plain(path: Path, name: str, what: str) -> Any:
        try:
            return json.loads((folder / f"{name}.json").read_bytes())
        except (ValueError, RecursionError):
            raise UserError("not JSON") from None

    monkeypatch.setattr(hico_mat, "load_variable", load_plain)
    files = [folder / f"{name}.json" for name in ("list_action", "bbox_train", "bbox_test")]
    endings = damage(files, lambda trial: prepared(folder, tmp_path / "outs" / str(trial)), trials=400)
    assert min(endings["data set"], endings["sentence"]) > 20
