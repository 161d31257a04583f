"""VG150: official files written by hand, with the four pictures that have no row and with defects put in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from source_checks import JSON_PIECES, damage, fork_processes_of, rejected, rows

from data_prep import h5_files, vg150
from data_prep.assemble import Options, assemble
from data_prep.records import Picture
from data_prep.vg150 import Vg150Reader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

H5_PIECES = (b"\xff", b"\0", b"\x01", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"TREE", b"HEAP", b"\x10\0\0\0", b"")


def image(number: int, width: int, height: int, **other: Any) -> dict[str, Any]:
    url = f"https://h/VG_100K_2/{number}.jpg"
    return {"image_id": number, "url": url, "width": width, "height": height, "coco_id": None, **other}


IMAGES: list[Any] = [
    image(1, 800, 600),  # row 0
    image(1592, 800, 600),
    image(2, 500, 1000, coco_id=547168),  # row 1
    image(1722, 800, 600),
    image(3, 1024, 768),  # row 2
    image(4616, 0, 600),
    {"id": 4617},
    image(4, 512, 256),  # row 3
    image(5, 0, 256),  # row 4
    image(6, 512, 256),  # row 5
]
DICTS: dict[str, Any] = {
    "label_to_idx": {"man": 1, "shirt": 2, "tree": 3},
    "idx_to_label": {"1": "man", "2": "shirt", "3": "tree"},
    "predicate_to_idx": {"on": 1, "wearing": 2},
    "idx_to_predicate": {"1": "on", "2": "wearing"},
    "object_count": {"man": 4},
    "predicate_count": {"on": 7},
    "attribute_to_idx": {"tall": 1, "red": 2},
    "idx_to_attribute": {"1": "tall", "2": "red"},
}
WITHOUT_ATTRIBUTES = {key: value for key, value in DICTS.items() if "attribute" not in key}
TABLES: dict[str, Any] = {
    "split": [0, 0, 2, 2, 0, 1],
    "img_to_first_box": [0, 2, 5, -1, 7, 8],
    "img_to_last_box": [1, 4, 6, -1, 7, 8],
    "img_to_first_rel": [0, 3, 7, -1, 9, -1],
    "img_to_last_rel": [2, 6, 8, -1, 9, -1],
    "labels": [[1], [2], [3], [0], [1], [2], [1], [1], [1], [3]],
    "boxes_1024": [
        [512, 384, 256, 128],
        [100, 100, 41, 20],
        [256, 512, 512, 1024],
        [9, 9, 8, 8],
        [600, 10, 200, 40],
        [20, 20, 0, 10],
        [50, 60, 20, 40],
        [9, 9, 8, 8],
        [9, 9, 8, 8],
        [9, 9, 8, 8],
    ],
    "relationships": [[0, 1], [1, 0], [1, 0], [2, 4], [2, 3], [2, 1], [4, 2], [5, 6], [6, 6], [7, 7], [0, 1]],
    "predicates": [[2], [1], [1], [1], [1], [1], [9], [2], [1], [1], [1]],
}
ATTRIBUTES = np.zeros((10, 10), dtype=np.int64)
ATTRIBUTES[0, :2] = 1, 2  # a tall man, a red man
ATTRIBUTES[3, 0] = 1  # of an object that is nothing
ATTRIBUTES[4, :3] = 3, 0, 1  # no attribute has the number 3
WITH_ATTRIBUTES = {**TABLES, "attributes": ATTRIBUTES}

MAN, SHIRT = [300, 250, 500, 350], [62.109375, 70.3125, 94.140625, 85.9375]  # see below


def write_h5(path: Path, tables: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, table in tables.items():
            if table is not None:
                file[name] = np.array(table, dtype=np.int32) if isinstance(table, list) else table


def write(folder: Path, images: Any = IMAGES, dicts: Any = DICTS, with_attributes: bool = True, **tables: Any) -> Path:
    """Write the three files; a table that is None is left out, one that is no list is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    ending = "-with-attri" if with_attributes else ""
    whole = {**(WITH_ATTRIBUTES if with_attributes else TABLES), **tables}
    write_h5(folder / f"VG-SGG{ending}.h5", whole)
    for name, value in ((f"VG-SGG-dicts{ending}", dicts), ("image_data", images)):
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def prepared(folder: Path, out: Path, images: Path | None = None, **options: Any) -> PreparedDataset:
    path = assemble("vg150", Vg150Reader(folder), out, images, Options(validation=0, **options))
    return PreparedDataset.open(path)


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vg150, "VALIDATION", 1)
    dataset = prepared(write(tmp_path / "vg"), tmp_path / "out")
    # Picture 1 is 800 x 600, one pixel of the grid is 800/1024 = 0.78125 of its own.
    # man   [512, 384, 256, 128]: x 512 -+ 128 = 384, 640, y 384 -+ 64 = 320, 448; times 0.78125: 300, 500, 250, 350
    # shirt [100, 100, 41, 20]: x 100 -+ 20.5 = 79.5, 120.5, y 90, 110; times 0.78125: 62.109375 ...
    # Picture 2 is 500 x 1000: 1000/1024 = 0.9765625.
    # tree  [256, 512, 512, 1024]: x 0, 512, y 0, 1024: 0, 500, 0, 1000, which is all of it
    # man   [600, 10, 200, 40]: x 500, 700, y -10, 30: 488.28125, 683.6, -9.8, 29.296875; cut at x = 500 and y = 0
    # Picture 3 is 1024 x 768, the grid's own size. man [50, 60, 20, 40]: x 40, 60, y 40, 80
    tree, other, third = [0, 0, 500, 1000], [488.28125, 0, 500, 29.296875], [40, 40, 60, 80]
    assert sorted(rows(dataset), key=str) == sorted(
        [
            ("1", "<man>", "val", MAN, None),
            ("1", "<shirt>", "val", SHIRT, None),
            ("1", "<man, tall>", "val", MAN, None),
            ("1", "<man, red>", "val", MAN, None),
            ("1", "<man, wearing, shirt>", "val", MAN, SHIRT),
            ("1", "<shirt, on, man>", "val", SHIRT, MAN),
            ("2", "<tree>", "train", tree, None),
            ("2", "<man>", "train", other, None),
            ("2", "<man, tall>", "train", other, None),
            ("2", "<tree, on, man>", "train", tree, other),
            ("3", "<man>", "test", third, None),
        ],
        key=str,
    )
    h5 = "VG-SGG-with-attri.h5"
    assert rejected(dataset) == [
        ("degenerate box", f"{h5}#labels/5"),
        ("degenerate box", f"{h5}#relationships/7"),
        ("duplicate", f"{h5}#relationships/2"),
        ("index out of range", f"{h5}#attributes/3/0"),
        ("index out of range", f"{h5}#attributes/4/0"),
        ("index out of range", f"{h5}#labels/3"),  # the background
        ("index out of range", f"{h5}#relationships/4"),  # to the background
        ("index out of range", f"{h5}#relationships/5"),  # to an object of the picture before
        ("index out of range", f"{h5}#relationships/6"),  # no predicate has the number 9
        ("malformed record", "image_data.json#8"),
        ("orphan id", f"{h5}#labels/7"),  # of the malformed picture
        ("orphan id", f"{h5}#labels/8"),  # of the picture of no part
        ("orphan id", f"{h5}#labels/9"),  # of no picture
        ("orphan id", f"{h5}#relationships/10"),
        ("orphan id", f"{h5}#relationships/9"),
        ("self relation", f"{h5}#relationships/8"),
        ("unknown part", f"{h5}#split/5"),
        ("unreadable image", "image_data.json#1"),
        ("unreadable image", "image_data.json#3"),
        ("unreadable image", "image_data.json#5"),
        ("unreadable image", "image_data.json#6"),
    ]


def test_pictures_have_their_own_rows_after_the_four_and_where_the_four_are_gone(tmp_path: Path) -> None:
    """A reader that leaves the four in gives picture 2 the row of picture 3, and so on: the classic off-by-four."""
    gone = [record for record in IMAGES if record.get("image_id", record.get("id")) not in (1592, 1722, 4616, 4617)]
    whole = prepared(write(tmp_path / "whole"), tmp_path / "out", orders=(1,))
    without = prepared(write(tmp_path / "gone", gone), tmp_path / "out2", orders=(1,))
    assert rows(without) == rows(whole)
    assert ("3", "<man>", "test", [40, 40, 60, 80], None) in rows(without)
    assert not [reason for reason, _ in rejected(without) if reason == "unreadable image"]


def test_a_picture_is_named_by_the_end_of_its_address_and_by_its_origin(tmp_path: Path) -> None:
    pictures = [picture for picture in Vg150Reader(write(tmp_path / "vg")).pictures() if isinstance(picture, Picture)]
    assert [(picture.file, picture.origin, picture.size) for picture in pictures] == [
        ("VG_100K_2/1.jpg", "vg:1", (800, 600)),
        ("VG_100K_2/2.jpg", "coco:547168", (500, 1000)),
        ("VG_100K_2/3.jpg", "vg:3", (1024, 768)),
        ("VG_100K_2/4.jpg", "vg:4", (512, 256)),
    ]


def test_val_is_the_first_5000_train_pictures_with_boxes_and_relations(tmp_path: Path) -> None:
    total = 5_006
    images = [image(10_000 + row, 100, 100) for row in range(total)]
    split, boxes, relations = np.zeros(total, int), np.arange(total), np.arange(total)
    split[0] = 2  # a test picture takes no place
    boxes[1], relations[1], relations[2] = -1, -1, -1  # neither does one without boxes or relations
    folder = write(
        tmp_path / "vg",
        images,
        WITHOUT_ATTRIBUTES,
        with_attributes=False,
        split=split,
        img_to_first_box=boxes,
        img_to_last_box=boxes,
        img_to_first_rel=relations,
        img_to_last_rel=relations,
        labels=np.ones((total, 1), int),
        boxes_1024=np.full((total, 4), 8),
        relationships=np.zeros((total, 2), int),
        predicates=np.ones((total, 1), int),
    )
    reader = Vg150Reader(folder)
    parts = [picture.part for picture in reader.pictures() if isinstance(picture, Picture)]
    assert parts[:3] == ["test", "train", "train"]
    assert set(parts[3:5_003]) == {"val"}
    assert parts[5_003:] == ["train"] * 3
    assert reader.about.published == {"all": 108_077 - 4}


def test_boxes_are_scaled_by_the_file_where_image_data_is_wrong(tmp_path: Path) -> None:
    """The boxes were made from the files: 1600/1024 = 1.5625 instead of 800/1024, and so twice as far."""
    (tmp_path / "images" / "VG_100K_2").mkdir(parents=True)
    Image.new("RGB", (1600, 1200)).save(tmp_path / "images" / "VG_100K_2" / "1.jpg")
    dataset = prepared(write(tmp_path / "vg"), tmp_path / "out", tmp_path / "images", orders=(1,))
    assert rows(dataset)[0] == ("1", "<man>", "val", [600, 500, 1000, 700], None)
    assert ("missing image", "image_data.json#2") in rejected(dataset)
    assert ("missing image", "VG-SGG-with-attri.h5#labels/2") in rejected(dataset)


def test_the_grid_of_512_serves_where_it_is_alone_and_not_where_both_are(tmp_path: Path) -> None:
    # Picture 1: 800/512 = 1.5625. [256, 192, 128, 64]: x 192, 320, y 160, 224: 300, 500, 250, 350, the same man
    half = [[256, 192, 128, 64], *TABLES["boxes_1024"][1:]]
    alone = prepared(write(tmp_path / "alone", boxes_1024=None, boxes_512=half), tmp_path / "out")
    assert ("1", "<man>", "val", MAN, None) in rows(alone)
    assert any("no boxes_1024" in note for note in alone.description["notes"])
    wrong = [[9, 9, 2, 2]] * 10
    both = prepared(write(tmp_path / "both", boxes_512=wrong), tmp_path / "out2")
    assert ("1", "<man>", "val", MAN, None) in rows(both)


def test_the_file_without_attributes(tmp_path: Path) -> None:
    folder = write(tmp_path / "vg", dicts=WITHOUT_ATTRIBUTES, with_attributes=False)
    dataset = prepared(folder, tmp_path / "out")
    assert {str(fact) for fact in dataset.facts} == {
        "<man>",
        "<shirt>",
        "<tree>",
        "<man, wearing, shirt>",
        "<shirt, on, man>",
        "<tree, on, man>",
    }
    notes = " ".join(dataset.description["notes"])
    assert "VG-SGG.h5 has no attributes" in notes
    assert "idx_to_label of VG-SGG-dicts.json has 3 words, where the authors published 150." in notes
    assert " pictures, where the authors published 108,073." in notes


def test_the_file_with_attributes_is_preferred_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "vg")
    reader = Vg150Reader(write(folder, dicts=WITHOUT_ATTRIBUTES, with_attributes=False))
    assert [file.name for file in reader.files] == [
        "VG-SGG-with-attri.h5",
        "VG-SGG-dicts-with-attri.json",
        "image_data.json",
    ]
    assert any("VG-SGG.h5 is there too and was not read" in note for note in reader.about.notes)
    (folder / "VG-SGG-with-attri.h5").unlink()
    (folder / "VG-SGG-dicts.json").unlink()
    plain = Vg150Reader(folder)  # the larger dictionaries have all that it needs
    assert [file.name for file in plain.files][:2] == ["VG-SGG.h5", "VG-SGG-dicts-with-attri.json"]


def test_attributes_are_read_whatever_the_name_of_their_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "vg", with_attributes=False, attributes=ATTRIBUTES)
    assert ("1", "<man, red>", "val", MAN, None) in rows(prepared(folder, tmp_path / "out"))


def test_the_background_is_no_word_even_where_the_dictionaries_name_it(tmp_path: Path) -> None:
    named = {**DICTS, "idx_to_label": {"0": "__background__", **DICTS["idx_to_label"]}}
    dataset = prepared(write(tmp_path / "vg", dicts=named), tmp_path / "out", orders=(1,))
    assert [str(fact) for fact in dataset.facts] == ["<man>", "<shirt>", "<tree>"]
    assert ("index out of range", "VG-SGG-with-attri.h5#labels/3") in rejected(dataset)


def test_whole_numbers_may_be_kept_as_floats_in_flat_tables_and_boxes_may_have_fractions(tmp_path: Path) -> None:
    floats: dict[str, Any] = {name: np.array(table, dtype=np.float32) for name, table in WITH_ATTRIBUTES.items()}
    floats["labels"], floats["predicates"] = floats["labels"][:, 0], floats["predicates"][:, 0]
    plain = rows(prepared(write(tmp_path / "plain"), tmp_path / "out"))
    assert rows(prepared(write(tmp_path / "floats", **floats), tmp_path / "out2")) == plain
    floats["boxes_1024"][0] = [512.5, 384, 257, 128]  # x 512.5 -+ 128.5 = 384, 641; 641 times 0.78125 = 500.78125
    found = rows(prepared(write(tmp_path / "floats", **floats), tmp_path / "out3"))
    assert ("1", "<man>", "val", [300, 250, 500.78125, 350], None) in found


@pytest.mark.parametrize(
    ("tables", "expected", "lost"),
    [
        ({"img_to_last_box": [1, 99, 6, -1, 7, 8]}, ["img_to_first_box/1", "labels/2", "relationships/3"], "2"),
        ({"img_to_first_box": [0, 1, 5, -1, 7, 8]}, ["img_to_first_box/1", "labels/2", "relationships/3"], "2"),
        ({"img_to_first_box": [0, -1, 5, -1, 7, 8]}, ["img_to_first_box/1", "labels/2", "relationships/3"], "2"),
        ({"img_to_first_box": [0, 4, 5, -1, 7, 8], "img_to_last_box": [1, 3, 6, -1, 7, 8]}, ["labels/4"], "2"),
        ({"img_to_last_rel": [99, 6, 8, -1, 9, -1]}, ["img_to_first_rel/0", "relationships/0"], None),
        ({"img_to_first_rel": [-7, 3, 7, -1, 9, -1]}, ["img_to_first_rel/0", "relationships/2"], None),
        ({"labels": [[-1], [2], [3], [1], [1], [2], [1], [1], [1], [3]]}, ["labels/0", "attributes/0/1"], None),
        ({"relationships": [[0, -1]] * 11}, ["relationships/0", "relationships/3"], None),
    ],
)
def test_rows_that_point_beside_are_rejected_one_by_one(
    tmp_path: Path, tables: dict[str, Any], expected: list[str], lost: str | None
) -> None:
    dataset = prepared(write(tmp_path / "vg", **tables), tmp_path / "out")
    sources = {source for _, source in rejected(dataset)}
    assert {f"VG-SGG-with-attri.h5#{place}" for place in expected} <= sources
    assert {row[0] for row in rows(dataset)} == {"1", "2", "3"} - {lost}


def test_no_object_is_of_two_pictures_however_the_rows_are_damaged(tmp_path: Path) -> None:
    """All pictures claim all objects: the first has them, and the work is not as large as their product."""
    claims: dict[str, Any] = {"img_to_first_box": [0] * 6, "img_to_last_box": [9] * 6}
    dataset = prepared(write(tmp_path / "vg", **claims), tmp_path / "out", orders=(1,))
    assert {row[0] for row in rows(dataset)} == {"1"}
    wrong = [source for reason, source in rejected(dataset) if reason == "index out of range"]
    assert len([source for source in wrong if "#img_to_first_box/" in source]) == 5


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"split": None}, r"with-attri\.h5: there is no table split; it should be VG150's"),
        ({"labels": None}, "there is no table labels"),
        ({"boxes_1024": None}, "there is no table boxes_1024"),
        ({"attributes": None}, "there is no table attributes"),
        ({"relationships": None}, "there is no table relationships"),
        ({"predicates": None}, "there is no table predicates"),
        ({"img_to_first_rel": None}, "there is no table img_to_first_rel"),
        ({"boxes_1024": [[1, 2, 3]] * 10}, "the table boxes_1024 is 10 x 3, not n x 4"),
        ({"relationships": [1] * 11}, "the table relationships is 11, not n x 2"),
        ({"attributes": [1] * 10}, "the table attributes is 10, not n x m"),
        ({"labels": np.zeros((2, 2, 2))}, "labels is no table of one or two dimensions"),
        ({"labels": h5py.Empty("i4")}, "labels is no table of one or two dimensions"),
        ({"labels": 3}, "labels is no table of one or two dimensions"),
        ({"labels": np.array([[b"man"]] * 10)}, r"the table labels holds \|S3, not numbers"),
        ({"labels": np.array([[True]] * 10)}, "the table labels holds bool, not numbers"),
        ({"labels": np.full((10, 1), np.nan)}, "the table labels has NaN"),
        ({"boxes_1024": np.full((10, 4), np.inf)}, "the table boxes_1024 has NaN or a number beyond all bounds"),
        ({"labels": np.full((10, 1), -(1 << 63))}, "the table labels has NaN or a number beyond all bounds"),
        ({"labels": np.full((10, 1), 1.5)}, "the table labels has numbers that are not whole"),
        ({"labels": [[1]] * 9}, r"tables have different numbers of rows .labels 9, boxes_1024 10, attributes 10"),
        ({"predicates": [[1]]}, "tables have different numbers of rows .relationships 11, predicates 1"),
        ({"split": [0]}, "tables have different numbers of rows .split 1, img_to_first_box 6"),
        ({"dicts": None}, r"VG-SGG-dicts\.json does not exist: it should be VG150's VG-SGG-dicts"),
        ({"dicts": "[]"}, r"with-attri\.json holds a list, not a dict"),
        ({"dicts": "not json"}, r"with-attri\.json is not valid JSON"),
        ({"dicts": {"x": 1}}, "no 'idx_to_label'; it should be VG150's VG-SGG-dicts.json"),
        ({"dicts": {**DICTS, "idx_to_predicate": ["on"]}}, "'idx_to_predicate' is .'on'.; it should be"),
        ({"dicts": {**DICTS, "idx_to_label": {"one": "man"}}}, "'one' in 'idx_to_label' is no number with its word"),
        ({"dicts": {**DICTS, "idx_to_label": {"1": 1}}}, "'1' in 'idx_to_label' is no number with its word"),
        ({"dicts": WITHOUT_ATTRIBUTES}, "no 'idx_to_attribute'; it should be .*with-attri.json if the .h5 has"),
        ({"images": None}, r"image_data\.json does not exist: it should be a file of Visual Genome"),
        ({"images": "{}"}, r"image_data\.json is not a JSON list"),
        ({"images": IMAGES[:-1]}, r"has 6 rows of pictures, but .*image_data.json 5 pictures .without 1592, 1722"),
        (
            {"images": [*IMAGES, image(7, 9, 9)]},
            "has 6 rows of pictures, but .* 7 pictures .* take the image_data.json",
        ),
        ({"labels": [[0]] * 10}, "no labelled picture"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(write(tmp_path / "vg", **files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_of_absurd_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "vg", labels=None)
    with h5py.File(folder / "VG-SGG-with-attri.h5", "a") as file:
        file.create_dataset("labels", shape=(1 << 40, 1), dtype="i4", chunks=(1 << 10, 1))  # takes no room on disk
    with pytest.raises(UserError, match="the table labels has 1,099,511,627,776 numbers"):
        Vg150Reader(folder)


def test_a_group_in_place_of_a_table_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "vg", labels=None)
    with h5py.File(folder / "VG-SGG-with-attri.h5", "a") as file:
        file.create_group("labels")
    with pytest.raises(UserError, match="labels is no table"):
        Vg150Reader(folder)


def test_what_is_no_h5_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "vg")
    file = folder / "VG-SGG-with-attri.h5"
    for content in (b"", b"not an h5", b"\x89HDF\r\n\x1a\n"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"with-attri\.h5 cannot be read as an HDF5 file .OSError.*it should be VG"):
            Vg150Reader(folder)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"with-attri\.h5 cannot be read .Permission denied.: it should be VG150's"):
        Vg150Reader(folder)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "exists", refuse)  # the folder may be listed, but not looked into
    with pytest.raises(UserError, match=r"VG-SGG\.h5 does not exist: it should be VG150's"):
        Vg150Reader(folder)
    monkeypatch.undo()
    file.unlink()
    with pytest.raises(UserError, match=r"VG-SGG\.h5 does not exist: it should be VG150's VG-SGG\.h5 or VG-SGG-with"):
        Vg150Reader(folder)
    file.mkdir()
    with pytest.raises(UserError, match=r"with-attri\.h5 is a folder: it should be VG150's"):
        Vg150Reader(folder)
    with pytest.raises(UserError, match=r"image_data\.json cannot be read as an HDF5 file"):
        Vg150Reader(folder / "image_data.json")


def refuse(*_: Any, **__: Any) -> Any:
    raise PermissionError(13, "Permission denied")


def test_a_process_that_crashes_or_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "vg")
    monkeypatch.setattr(h5_files, "_SECONDS", 0.001)
    with pytest.raises(UserError, match=r"with-attri\.h5 is not read after 0\.001 seconds: it is damaged, get it anew"):
        Vg150Reader(folder)
    crashed = subprocess.CompletedProcess([], returncode=-11, stdout=b"half", stderr=b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: crashed)
    with pytest.raises(UserError, match=r"with-attri\.h5 cannot be read as an HDF5 file: it is damaged, get it anew"):
        Vg150Reader(folder)


def test_damaged_json_ends_in_a_data_set_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "vg")
    read = h5_files._read(folder / "VG-SGG-with-attri.h5", list(WITH_ATTRIBUTES), "")
    monkeypatch.setattr(h5_files, "_read", lambda *_: read)  # the .h5 is whole: one process for all trials
    endings = damage(
        [folder / "VG-SGG-dicts-with-attri.json", folder / "image_data.json"],
        lambda trial: prepared(folder, tmp_path / "outs" / str(trial)),
        pieces=JSON_PIECES,
        trials=200,
    )
    assert min(endings["data set"], endings["sentence"]) > 20


def test_a_damaged_h5_ends_in_a_data_set_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5_files, "_SECONDS", 30)
    fork_processes_of(h5_files, monkeypatch, tmp_path)
    folder = write(tmp_path / "vg")
    endings = damage(
        [folder / "VG-SGG-with-attri.h5"],
        lambda trial: prepared(folder, tmp_path / "outs" / str(trial)),
        pieces=H5_PIECES,
    )
    assert endings["sentence"] > 0


def test_what_an_h5_may_hold_ends_in_a_data_set_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables as they come out of the process, with other numbers in some places."""
    folder = write(tmp_path / "vg")
    whole = h5_files._read(folder / "VG-SGG-with-attri.h5", list(WITH_ATTRIBUTES), "")
    chance = np.random.default_rng(0)
    endings = {"data set": 0, "sentence": 0}
    for trial in range(200):
        tables = {name: table.copy() for name, table in whole.items()}
        for name in chance.choice(sorted(tables), size=3):
            table = tables[name]
            if chance.random() < 0.1 or table.size == 0:
                tables[name] = table[: len(table) // 2]
            else:
                values = [-(1 << 63), -(1 << 53) + 1, -2, -1, 0, 1, 5, 9, 10, (1 << 31), (1 << 53) - 1]
                table.flat[chance.integers(table.size)] = chance.choice(values[chance.integers(2) :])
        monkeypatch.setattr(h5_files, "_read", lambda *_, tables=tables: tables)
        try:
            prepared(folder, tmp_path / "outs" / str(trial))
            endings["data set"] += 1
        except UserError:
            endings["sentence"] += 1
    assert min(endings.values()) > 20
