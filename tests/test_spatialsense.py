"""SpatialSense: an official file written by hand, with what the real one holds and with damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from source_checks import damage, rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.spatialsense import SpatialSenseReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


def thing(name: str, *bbox: float) -> dict[str, Any]:
    return {"name": name, "x": bbox[2], "y": bbox[0], "bbox": list(bbox)}


def relation(subject: Any, predicate: Any, other: Any, label: Any = True) -> dict[str, Any]:
    return {"_id": "59fbffe4", "predicate": predicate, "subject": subject, "object": other, "label": label}


CAT, GROUND = thing("cat", 230, 434, 31, 264), thing("ground", 196, 500, 3, 278)
MIRROR = thing("mirror", 0, 345, 160, 280)
ON = relation(CAT, "on", GROUND)
FLICKR = "https://farm4.staticflickr.com/3543/"
FIRST: dict[str, Any] = {
    "url": f"{FLICKR}5704634119_8b8ccf3229.jpg",
    "nsid": "10392797@N03",
    "height": 500,
    "width": 281,
    "split": "train",
    "annotations": [
        ON,
        relation(CAT, "to the left of", MIRROR),
        relation(MIRROR, "on", GROUND, False),
        relation(CAT, "on", GROUND),
        relation(thing("sky", 9, 9, 0, 5), "above", CAT),
    ],
}
SECOND = {**FIRST, "url": f"{FLICKR}12_ab.jpg", "split": "valid", "annotations": [ON]}
THIRD = {**FIRST, "url": "nyu/kitchen/0042.jpg", "nsid": "nyu", "split": "test", "annotations": [ON]}
OTHER_SPLIT = {**FIRST, "url": f"{FLICKR}13_ab.jpg", "split": "dev", "annotations": [ON]}
AGAIN = {**FIRST, "url": f"{FLICKR}12_cd.jpg", "annotations": [ON]}  # another size of the second picture
OFFICIAL = [FIRST, SECOND, THIRD, OTHER_SPLIT, AGAIN]


def write(folder: Path, value: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    return folder


def prepared(tmp_path: Path, value: Any, images: Path | None = None) -> PreparedDataset:
    reader = SpatialSenseReader(write(tmp_path / "source", value))
    return PreparedDataset.open(assemble("spatialsense", reader, tmp_path / "out", images, Options(validation=0)))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, OFFICIAL)
    cat, ground, mirror = [31, 230, 264, 434], [3, 196, 278, 500], [160, 0, 280, 345]  # x0 y0 x1 y1 of y0 y1 x0 x1
    expected: list[tuple[str, str, str, Any, Any]] = [
        ("flickr/5704634119_8b8ccf3229", "<cat, to the left of, mirror>", "train", cat, mirror),
        ("flickr/5704634119_8b8ccf3229", "<mirror>", "train", mirror, None),
    ]
    for image_id, part in (("flickr/5704634119_8b8ccf3229", "train"), ("flickr/12_ab", "val"), ("nyu/0042", "test")):
        expected += [
            (image_id, "<cat>", part, cat, None),
            (image_id, "<ground>", part, ground, None),
            (image_id, "<cat, on, ground>", part, cat, ground),
        ]
    assert sorted(rows(dataset), key=str) == sorted(expected, key=str)
    name = "annotations.json"
    assert rejected(dataset) == [
        ("conflicting part", f"{name}#4"),
        ("conflicting part", f"{name}#4/annotations/0"),
        ("conflicting part", f"{name}#4/annotations/0/object"),
        ("conflicting part", f"{name}#4/annotations/0/subject"),
        ("degenerate box", f"{name}#0/annotations/4"),
        ("degenerate box", f"{name}#0/annotations/4/subject"),
        ("duplicate", f"{name}#0/annotations/3"),
        ("negative label", f"{name}#0/annotations/2"),
        ("orphan id", f"{name}#3/annotations/0"),
        ("orphan id", f"{name}#3/annotations/0/object"),
        ("orphan id", f"{name}#3/annotations/0/subject"),
        ("unknown part", f"{name}#3"),
    ]


def test_addresses_origins_and_notes_are_kept(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, OFFICIAL)
    images = {row["image_id"]: row for row in dataset.images.to_pylist()}
    assert images["flickr/12_ab"]["url"] == f"{FLICKR}12_ab.jpg"
    assert images["flickr/12_ab"]["source_id"] == "flickr:12"
    assert images["nyu/0042"]["url"] is None
    assert (images["nyu/0042"]["width"], images["nyu/0042"]["height"]) == (281, 500)
    notes = " ".join(dataset.description["notes"])
    assert "5 pictures, where the authors published 11,569." in notes
    assert "3 predicates, where the authors published 9." in notes


def test_the_pictures_are_found_in_the_folders_of_the_archive(tmp_path: Path) -> None:
    colour = np.zeros((500, 281, 3), dtype=np.uint8)
    for file in ("flickr/5704634119_8b8ccf3229.jpg", "nyu/0042.jpg", "flickr/0042.jpg"):
        (tmp_path / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colour).save(tmp_path / "images" / file)
    dataset = prepared(tmp_path, [FIRST, THIRD, SECOND], tmp_path / "images")
    assert sorted(path.relative_to(tmp_path / "images").as_posix() for path in dataset.paths) == [
        "flickr/5704634119_8b8ccf3229.jpg",
        "nyu/0042.jpg",
    ]
    assert ("missing image", "annotations.json#2") in rejected(dataset)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("not json", r"annotations\.json is not valid JSON \(line 1"),
        ("", r"annotations\.json is not valid JSON"),
        ("{}", r"annotations\.json holds a dict, not a list: it should be SpatialSense's"),
        ("[]", r"annotations\.json is empty"),
        ("[" * 100_000, r"annotations\.json is not valid JSON"),
        ("[" + "9" * 5000 + "]", r"annotations\.json is not valid JSON"),
        ([1, None, "x", [], {}], "holds no labelled picture .5 malformed record"),
        ([{"photo_id": 1, "filename": "a.jpg", "objects": []}], "holds no labelled picture .*no 'url'"),
        ([{**FIRST, "annotations": []}], "holds no labelled picture"),
        ([{**FIRST, "annotations": [relation(CAT, "on", GROUND, False)]}], "holds no labelled picture .1 negative"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(tmp_path, value)
    assert not (tmp_path / "out").exists()


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "annotations.json"):
        with pytest.raises(UserError, match=r"annotations\.json does not exist: it should be SpatialSense's"):
            SpatialSenseReader(path)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"url": None}, ("malformed record", "")),
        ({"url": f"{FLICKR}"}, ("malformed record", "")),
        ({"url": f"{FLICKR}\ud800.jpg"}, ("malformed record", "")),
        ({"split": 1}, ("malformed record", "")),
        ({"split": "\ud800"}, ("unknown part", "")),
        ({"width": -1}, ("malformed record", "")),
        ({"width": 10**4000}, ("malformed record", "")),
        ({"height": float("nan")}, ("malformed record", "")),
        ({"annotations": None}, ("malformed record", "/annotations")),
        ({"annotations": [None]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation(CAT, "on", GROUND, 1)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation(CAT, 5, GROUND)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation(CAT, " ", GROUND)]}, ("empty text", "/annotations/0")),
        ({"annotations": [relation(CAT, "\ud800", GROUND)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation([], "on", GROUND)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation({"name": "cat"}, "on", GROUND)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation({"bbox": [1, 2, 1, 2]}, "on", CAT)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation({**CAT, "bbox": [1, 2, 3]}, "on", CAT)]}, ("malformed record", "/annotations/0")),
        (
            {"annotations": [relation(thing("a", 1, float("nan"), 1, 2), "on", CAT)]},
            ("malformed record", "/annotations/0"),
        ),
        ({"annotations": [relation(thing("a", 1, 10**400, 1, 2), "on", CAT)]}, ("malformed record", "/annotations/0")),
        ({"annotations": [relation(thing("a", 1, 2, 1e308, 2e307), "on", CAT)]}, ("degenerate box", "/annotations/0")),
        ({"annotations": [relation(CAT, "on", CAT)]}, ("self relation", "/annotations/0")),
    ],
)
def test_a_bad_record_is_rejected_and_the_others_stay(
    tmp_path: Path, keys: dict[str, Any], expected: tuple[str, str]
) -> None:
    bad = {key: value for key, value in {**SECOND, "annotations": [ON], **keys}.items() if value is not None}
    dataset = prepared(tmp_path, [THIRD, bad])
    assert (expected[0], f"annotations.json#1{expected[1]}") in rejected(dataset)
    assert ("nyu/0042", "<cat>", "test", [31, 230, 264, 434], None) in rows(dataset)


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", OFFICIAL)
    endings = damage(
        [folder / "annotations.json"],
        lambda trial: assemble("spatialsense", SpatialSenseReader(folder), tmp_path / "outs" / str(trial)),
    )
    assert min(endings["data set"], endings["sentence"]) > 20
