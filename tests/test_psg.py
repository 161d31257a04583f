"""PSG: an official file written by hand, with the defects of the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_checks import damage, rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.psg import PsgReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

PERSON = {"bbox": [10, 20, 110, 220], "bbox_mode": 0, "category_id": 0}
SHIRT = {"bbox": [20.5, 60, 90, 130], "bbox_mode": 0, "category_id": 1}
FLOOR = {"bbox": [0, 200, 700, 480], "bbox_mode": 0, "category_id": 2}
WINDOW = {"bbox": [300, 0, 400, 90], "bbox_mode": 0, "category_id": 3}


def picture(image_id: str, coco: str, annotations: list[Any], relations: list[Any], **other: Any) -> dict[str, Any]:
    return {
        "file_name": f"val2017/{coco:0>12}.jpg",
        "height": 480,
        "width": 640,
        "image_id": image_id,
        "pan_seg_file_name": f"panoptic_val2017/{coco:0>12}.png",
        "segments_info": [],
        "relations": relations,
        "annotations": annotations,
        "coco_image_id": coco,
        **other,
    }


OFFICIAL: dict[str, Any] = {
    "data": [
        picture("107904", "9", [PERSON, SHIRT, FLOOR], [[0, 1, 1], [0, 2, 0], [0, 1, 1]]),
        picture("107905", "25", [FLOOR, WINDOW, {**PERSON, "category_id": 4}], [[1, 0, 0], [2, 0, 0], [0, 3, 0]]),
        picture("107906", "30", [PERSON, {**FLOOR, "bbox": [5, 5, 5, 9]}], [[0, 0, 0], [0, 1, 0], [0, 0, 2], [0, 1]]),
        picture("107907", "31", [PERSON, SHIRT], []),
        picture("107908", "9", [PERSON], []),  # annotated twice, the other time for training
        picture("107904", "77", [WINDOW], []),
        picture("107909", "78", [WINDOW], [], width=1 << 40),
        picture("107910", "79", [{**WINDOW, "bbox_mode": 1}, WINDOW], [[1, 0, 0]]),
    ],
    "thing_classes": ["person", "shirt"],
    "stuff_classes": ["floor-other-merged", "window-other"],
    "predicate_classes": ["on", "wearing"],
    "test_image_ids": ["107907", "107908"],
}


def changed(**keys: Any) -> dict[str, Any]:
    """Return the official file with other keys; a value of None leaves one out."""
    return {key: value for key, value in {**OFFICIAL, **keys}.items() if value is not None}


def one(**keys: Any) -> dict[str, Any]:
    """Return the official file with the first picture alone, changed; a value of None leaves a key out."""
    first = {key: value for key, value in {**OFFICIAL["data"][0], **keys}.items() if value is not None}
    return changed(data=[first])


def write(folder: Path, value: Any = OFFICIAL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "psg.json").write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def prepared(tmp_path: Path, value: Any = OFFICIAL, **options: Any) -> PreparedDataset:
    reader = PsgReader(write(tmp_path / "psg", value))
    return PreparedDataset.open(assemble("psg", reader, tmp_path / "out", options=Options(validation=0, **options)))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)
    person, shirt, window = [10, 20, 110, 220], [20.5, 60, 90, 130], [300, 0, 400, 90]
    floor = [0, 200, 640, 480]  # it ends at 700, beside the picture of 640 x 480
    assert sorted(rows(dataset), key=str) == sorted(
        [
            ("107905", "<floor>", "train", floor, None),
            ("107905", "<window>", "train", window, None),
            ("107905", "<window, on, floor>", "train", window, floor),
            ("107906", "<person>", "train", person, None),
            ("107907", "<person>", "test", person, None),
            ("107907", "<shirt>", "test", shirt, None),
            ("107908", "<person>", "test", person, None),
            ("107910", "<window>", "train", window, None),
        ],
        key=str,
    )
    assert rejected(dataset) == [
        ("conflicting part", "psg.json#0"),  # the same COCO picture is in the test part, where it is kept
        ("conflicting part", "psg.json#0/annotations/0"),
        ("conflicting part", "psg.json#0/annotations/1"),
        ("conflicting part", "psg.json#0/annotations/2"),
        ("conflicting part", "psg.json#0/relations/0"),
        ("conflicting part", "psg.json#0/relations/1"),
        ("conflicting part", "psg.json#0/relations/2"),
        ("degenerate box", "psg.json#2/annotations/1"),
        ("degenerate box", "psg.json#2/relations/1"),
        ("duplicate", "psg.json#5"),
        ("index out of range", "psg.json#1/annotations/2"),
        ("index out of range", "psg.json#1/relations/2"),
        ("index out of range", "psg.json#2/relations/2"),
        ("malformed record", "psg.json#2/relations/3"),
        ("malformed record", "psg.json#6"),
        ("malformed record", "psg.json#7/annotations/0"),
        ("orphan id", "psg.json#1/relations/1"),
        ("orphan id", "psg.json#7/relations/0"),
        ("self relation", "psg.json#2/relations/0"),
    ]


def test_a_relation_is_subject_object_predicate_and_falls_out_the_second_time(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, one(), orders=(3,))
    assert rows(dataset) == [
        ("107904", "<person, on, floor>", "train", [10, 20, 110, 220], [0, 200, 640, 480]),
        ("107904", "<person, wearing, shirt>", "train", [10, 20, 110, 220], [20.5, 60, 90, 130]),
    ]
    assert ("duplicate", "psg.json#0/relations/2") in rejected(dataset)
    assert dataset.images["source_id"].to_pylist() == ["coco:9"]


def test_the_file_itself_may_be_given_and_numbers_serve_as_ids(tmp_path: Path) -> None:
    value = one(image_id=107904, coco_image_id=9) | {"test_image_ids": [107904]}
    reader = PsgReader(write(tmp_path / "psg", value) / "psg.json")
    dataset = PreparedDataset.open(assemble("psg", reader, tmp_path / "out"))
    assert dataset.images["split"].to_pylist() == ["test"]
    notes = " ".join(dataset.description["notes"])
    assert "thing_classes has 2 names, where the authors published 80." in notes
    assert "1 pictures in test, where the authors published 2,186." in notes
    assert reader.files == [tmp_path / "psg" / "psg.json"]


def test_endings_of_class_names_are_taken_off_and_nothing_else(tmp_path: Path) -> None:
    names = ["floor-other-merged", "wall-brick", "mirror-stuff", "tree-merged", "-other", "another"]
    boxes = [{"bbox": [0, 0, 1 + place, 1], "category_id": place} for place in range(len(names))]
    dataset = prepared(tmp_path, one(annotations=boxes, relations=[]) | {"thing_classes": names})
    assert [str(fact) for fact in dataset.facts] == [
        "<-other>",
        "<another>",
        "<floor>",
        "<mirror>",
        "<tree>",
        "<wall-brick>",
    ]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("not json", r"psg\.json is not valid JSON \(line 1"),
        ("", r"psg\.json is not valid JSON"),
        ("[]", r"psg\.json holds a list, not a dict"),
        ("{}", r"psg\.json is empty"),
        ("[" * 100_000, r"psg\.json is not valid JSON"),
        ('{"data": ' + "9" * 5000 + "}", r"psg\.json is not valid JSON"),
        ({"images": [], "annotations": [], "categories": []}, r"psg\.json: no 'data'; it should be PSG's"),
        (changed(data={}), r"'data' is \{\}"),
        (changed(data=[]), "holds no labelled picture"),
        (changed(data=[1, None, "x", []]), "holds no labelled picture .4 malformed record"),
        (changed(thing_classes=None), "no 'thing_classes'"),
        (changed(stuff_classes=[1]), "'stuff_classes' is not a list of names"),
        (changed(predicate_classes=[" "]), "'predicate_classes' is not a list of names"),
        (changed(test_image_ids=None), "no 'test_image_ids'"),
        (changed(test_image_ids=[[]]), "'test_image_ids' is not a list of names"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(tmp_path, value)
    assert not (tmp_path / "out").exists()


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "psg.json"):
        with pytest.raises(UserError, match=r"psg\.json does not exist: it should be PSG's"):
            PsgReader(path)


def test_what_the_authors_loader_does_not_ask_for_may_be_absent(tmp_path: Path) -> None:
    """It reads file_name, image_id, width, height, annotations and relations; the number in COCO is in the name."""
    record = {key: value for key, value in OFFICIAL["data"][0].items() if key not in ("coco_image_id", "caption")}
    dataset = prepared(tmp_path, changed(data=[record]))
    assert dataset.images["source_id"].to_pylist() == [f"coco:{int(Path(record['file_name']).stem)}"]


def test_the_file_of_the_challenge_is_read_where_the_whole_one_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "psg").mkdir()
    (tmp_path / "psg" / "psg_train_val.json").write_text(json.dumps(OFFICIAL), encoding="utf-8")
    assert [file.name for file in PsgReader(tmp_path / "psg").files] == ["psg_train_val.json"]
    (tmp_path / "psg" / "psg.json").write_text(json.dumps(OFFICIAL), encoding="utf-8")
    assert [file.name for file in PsgReader(tmp_path / "psg").files] == ["psg.json"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"image_id": None}, ("malformed record", "psg.json#1")),
        ({"file_name": "\ud800.jpg"}, ("malformed record", "psg.json#1")),
        ({"image_id": "\udfff"}, ("malformed record", "psg.json#1")),
        ({"file_name": " "}, ("malformed record", "psg.json#1")),
        ({"height": 0}, ("malformed record", "psg.json#1")),
        ({"height": 480.5}, ("malformed record", "psg.json#1")),
        ({"width": 10**4000}, ("malformed record", "psg.json#1")),
        ({"annotations": None}, ("malformed record", "psg.json#1/annotations")),
        ({"annotations": {}}, ("malformed record", "psg.json#1/annotations")),
        ({"relations": None}, ("malformed record", "psg.json#1/relations")),
        ({"relations": [[0, 1, True]]}, ("malformed record", "psg.json#1/relations/0")),
        ({"relations": [[0, 10**4000, 0]]}, ("index out of range", "psg.json#1/relations/0")),
        ({"relations": [[0, 1, -1]]}, ("index out of range", "psg.json#1/relations/0")),
        ({"annotations": [7]}, ("malformed record", "psg.json#1/annotations/0")),
        ({"annotations": [{**PERSON, "category_id": -1}]}, ("index out of range", "psg.json#1/annotations/0")),
        ({"annotations": [{**PERSON, "category_id": 0.0}]}, ("malformed record", "psg.json#1/annotations/0")),
        ({"annotations": [{"category_id": 0}]}, ("malformed record", "psg.json#1/annotations/0")),
        ({"annotations": [{**PERSON, "bbox": [1, 2, 3]}]}, ("malformed record", "psg.json#1/annotations/0")),
        (
            {"annotations": [{**PERSON, "bbox": [1, 2, 3, float("nan")]}]},
            ("malformed record", "psg.json#1/annotations/0"),
        ),
        ({"annotations": [{**PERSON, "bbox": [1, 2, 3, 10**400]}]}, ("malformed record", "psg.json#1/annotations/0")),
        ({"annotations": [{**PERSON, "bbox": [9, 2, 3, 1e308]}]}, ("degenerate box", "psg.json#1/annotations/0")),
    ],
)
def test_a_bad_record_is_rejected_and_the_others_stay(
    tmp_path: Path, keys: dict[str, Any], expected: tuple[str, str]
) -> None:
    bad = one(**{"image_id": "1", "coco_image_id": "1", "file_name": "val2017/000000000001.jpg", **keys})["data"][0]
    dataset = prepared(tmp_path, changed(data=[OFFICIAL["data"][0], bad]))
    assert expected in rejected(dataset)
    assert ("107904", "<person>", "train", [10, 20, 110, 220], None) in rows(dataset)


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "psg")
    endings = damage(
        [folder / "psg.json"], lambda trial: assemble("psg", PsgReader(folder), tmp_path / "outs" / str(trial))
    )
    assert min(endings["data set"], endings["sentence"]) > 20
