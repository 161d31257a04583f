"""UnRel: an official file written by hand as Matlab has it, a cell of structs of cells, with damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from source_checks import damage, fork_processes_of, rejected, rows

from data_prep import mat_files, unrel
from data_prep.assemble import Options, assemble
from data_prep.mat_files import load_variable
from data_prep.unrel import UnrelReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

PIECES = (b"\xff", b"\0", b"\x01", b"\x7f\xff\xff\xff", b"\x0e\0\0\0", b"")
NEWER = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)
DOG, BIKE, SKY = [11, 21, 110, 220], [1.0, 31.5, 300.0, 240.0], [1, 1, 1, 0]


def cell(*items: Any) -> Any:
    """Return a Matlab cell, n x 1."""
    array = np.empty((len(items), 1), dtype=object)
    for place, item in enumerate(items):
        array[place, 0] = item
    return array


def struct(**fields: Any) -> Any:
    """Return one Matlab struct, 1 x 1."""
    array = np.empty((1, 1), dtype=[(key, object) for key in fields])
    array[0, 0] = tuple(fields.values())
    return array


def box(sides: Sequence[float]) -> Any:
    """Return a row of numbers; where all are whole, in 16 bits, as Matlab may keep them."""
    whole = all(type(side) is int and side >= 0 for side in sides)
    return np.array([sides], dtype=np.uint16 if whole else np.float64)


def thing(category: Any, sides: Sequence[float]) -> Any:
    return struct(category=category, box=box(sides))


def pair(subject: Any, rels: Any, other: Any, first: Sequence[float], second: Sequence[float]) -> Any:
    return struct(sub=subject, obj=other, sub_box=box(first), obj_box=box(second), rels=rels)


def picture(number: int, relationships: Any, objects: Any) -> Any:
    return struct(filename=f"{number}.jpg", im_id=number, relationships=relationships, objects=objects)


RIDE = pair("dog", cell("ride", "on the top of"), "bike", DOG, BIKE)
BOTH = cell(thing("dog", DOG), thing("bike", BIKE))
OFFICIAL = [
    picture(1, cell(RIDE), BOTH),  # one relation alone
    picture(
        2,
        cell(
            pair("dog", cell("ride"), "bike", DOG, BIKE),
            pair("dog", cell("ride"), "bike", DOG, BIKE),
            pair("dog", cell("in"), "sky", DOG, SKY),
            pair("dog", cell(), "bike", DOG, BIKE),
            pair("dog", cell("on", 7), "bike", DOG, BIKE),
            pair("dog", cell("on"), "bike", DOG, []),
            pair("dog", cell("on"), "bike", DOG, [1, 2, float("nan"), 4]),
            pair(5, cell("on"), "bike", DOG, BIKE),
            pair("dog", cell("with"), "dog", DOG, DOG),
            struct(sub="dog", obj="bike"),
        ),
        cell(thing("dog", DOG), thing("dog", DOG), thing(" ", DOG), thing("", DOG), struct(box=box(DOG))),
    ),
    picture(3, cell(), cell(thing("person", DOG))),
    struct(filename="4.jpg", im_id=4),
    struct(im_id=5),
    picture(1, cell(), cell(thing("cat", DOG))),
]
TRIPLETS = cell("dog-ride-bike", "elephant-ride-bus")


def write(folder: Path, *records: Any, triplets: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "annotations.mat", {"annotations": cell(*records)})
    if triplets is not None:
        savemat(folder / "annotated_triplets.mat", {"triplets": triplets})
    return folder


def prepared(folder: Path, out: Path) -> PreparedDataset:
    return PreparedDataset.open(assemble("unrel", UnrelReader(folder), out, options=Options(validation=0)))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(write(tmp_path / "unrel", *OFFICIAL), tmp_path / "out")
    dog = [10, 20, 110, 220]  # 11 - 1, 21 - 1, 110, 220: the last pixel is in the box
    bike = [0, 30.5, 300, 240]
    assert sorted(rows(dataset), key=str) == sorted(
        [
            ("1", "<bike>", "test", bike, None),
            ("1", "<cat>", "test", dog, None),
            ("1", "<dog>", "test", dog, None),
            ("1", "<dog, on the top of, bike>", "test", dog, bike),
            ("1", "<dog, ride, bike>", "test", dog, bike),
            ("2", "<bike>", "test", bike, None),
            ("2", "<dog>", "test", dog, None),
            ("2", "<dog, on, bike>", "test", dog, bike),
            ("2", "<dog, ride, bike>", "test", dog, bike),
            ("3", "<person>", "test", dog, None),
        ],
        key=str,
    )
    name = "annotations.mat"
    assert rejected(dataset) == [
        ("degenerate box", f"{name}#1/relationships/2/obj"),  # 0 to 1 and 0 to 0: no row
        ("degenerate box", f"{name}#1/relationships/2/rels/0"),
        ("duplicate", f"{name}#1/relationships/1/rels/0"),
        ("duplicate", f"{name}#5"),
        ("empty text", f"{name}#1/objects/2"),
        ("malformed record", f"{name}#1/objects/3"),  # text of no letter is an empty array
        ("malformed record", f"{name}#1/objects/4"),
        ("malformed record", f"{name}#1/relationships/3"),
        ("malformed record", f"{name}#1/relationships/4/rels/1"),
        ("malformed record", f"{name}#1/relationships/5"),
        ("malformed record", f"{name}#1/relationships/6"),
        ("malformed record", f"{name}#1/relationships/7"),
        ("malformed record", f"{name}#1/relationships/9"),
        ("malformed record", f"{name}#3/relationships"),
        ("malformed record", f"{name}#4"),
        ("self relation", f"{name}#1/relationships/8/rels/0"),
    ]


def test_pictures_without_objects_and_with_the_other_name_of_rels(tmp_path: Path) -> None:
    relation = struct(sub="dog", obj="bike", sub_box=box(DOG), obj_box=box(BIKE), predicates=cell("ride"))
    dataset = prepared(
        write(tmp_path / "unrel", struct(filename="1.jpg", relationships=cell(relation))), tmp_path / "out"
    )
    assert not rejected(dataset)
    assert sorted(row[1] for row in rows(dataset)) == ["<bike>", "<dog, ride, bike>", "<dog>"]


def test_one_picture_alone_is_read_and_notes_are_kept(tmp_path: Path) -> None:
    folder = write(tmp_path / "unrel", picture(7, cell(RIDE), BOTH), triplets=TRIPLETS)
    dataset = prepared(folder, tmp_path / "out")
    assert {row[0] for row in rows(dataset)} == {"7"}
    assert dataset.images["source_id"].to_pylist() == ["unrel:7"]
    notes = " ".join(dataset.description["notes"])
    assert "1 pictures in test, where the authors published 1,071." in notes
    assert "2 unusual triplets are in annotated_triplets.mat, where the authors published 76." in notes
    assert [file["path"] for file in dataset.description["source_files"]] == [
        "annotations.mat",
        "annotated_triplets.mat",
    ]


def test_the_pictures_lie_in_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "unrel", picture(7, cell(RIDE), BOTH), picture(8, cell(RIDE), BOTH))
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((230, 310, 3), dtype=np.uint8)).save(folder / "images" / "7.jpg")
    dataset = prepared(folder, tmp_path / "out")
    assert [path.relative_to(folder).as_posix() for path in dataset.paths] == ["images/7.jpg"]
    assert ("7", "<bike>", "test", [0, 30.5, 300, 230], None) in rows(dataset)  # 240 is below the picture
    assert ("missing image", "annotations.mat#1") in rejected(dataset)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "annotations.mat").unlink(), r"annotations\.mat does not exist: it should be UnRel's"),
        (lambda f: (f / "annotations.mat").write_bytes(b""), r"annotations\.mat cannot be read as a Matlab file"),
        (lambda f: (f / "annotations.mat").write_bytes(b"{}" * 400), r"annotations\.mat .*: it should be UnRel's"),
        (lambda f: (f / "annotations.mat").write_bytes(NEWER), r"annotations\.mat is a Matlab file of version 7\.3"),
        (lambda f: savemat(f / "annotations.mat", {"x": 1}), "has no variable annotations: it should be UnRel's"),
        (lambda f: savemat(f / "annotations.mat", {"annotations": cell()}), "annotations holds no picture"),
        (lambda f: savemat(f / "annotations.mat", {"annotations": "dog"}), "annotations holds no picture"),
        (lambda f: savemat(f / "annotations.mat", {"annotations": np.ones(3)}), "no labelled picture .3 malformed"),
        (lambda f: write(f, struct(nname="bike", vname="ride")), "no labelled picture .*no 'filename'"),
        (lambda f: write(f, picture(1, cell(), cell())), "no labelled picture"),
        (lambda f: write(f, picture(1, "dog", 5)), "no labelled picture .2 malformed record"),
        (lambda f: (f / "annotated_triplets.mat").write_bytes(b"x"), "triplets.mat .*can be prepared without"),
        (lambda f: write(f, OFFICIAL[0], triplets=np.ones(2)), "triplets is not a list of text"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, spoil: Callable[[Path], Any], sentence: str) -> None:
    folder = write(tmp_path / "unrel", OFFICIAL[0])
    spoil(folder)
    with pytest.raises(UserError, match=sentence):
        prepared(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "annotations.mat").mkdir()
    with pytest.raises(UserError, match=r"annotations\.mat is a folder: it should be UnRel's"):
        UnrelReader(tmp_path)


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_processes_of(mat_files, monkeypatch, tmp_path)
    folder = write(tmp_path / "unrel", *OFFICIAL)
    endings = damage(
        [folder / "annotations.mat"],
        lambda trial: prepared(folder, tmp_path / "outs" / str(trial)),
        pieces=PIECES,
    )
    assert min(endings["data set"], endings["sentence"]) > 5


def test_what_the_file_may_hold_ends_in_a_data_set_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable as plain values, with damage that leaves it JSON."""
    folder = write(tmp_path / "unrel", *OFFICIAL)
    plain = folder / "annotations.json"
    plain.write_text(json.dumps(load_variable(folder / "annotations.mat", "annotations", "UnRel's")))

    def load_plain(path: Path, name: str, what: str) -> Any:
        try:
            return json.loads(plain.read_bytes())
        except (ValueError, RecursionError):
            raise UserError("not JSON") from None

    monkeypatch.setattr(unrel, "load_variable", load_plain)
    endings = damage([plain], lambda trial: prepared(folder, tmp_path / "outs" / str(trial)))
    assert min(endings["data set"], endings["sentence"]) > 5
