"""SWiG: official files written by hand, with situations of every kind, a box for each role, and damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from source_checks import damage, rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.swig import SwigReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

NONE = [-1, -1, -1, -1]
MAN, WOMAN, TREE, SAW, ROAD, WATER, TAP, BARE = (f"n{number:08}" for number in range(1, 9))


def noun(*gloss: str) -> dict[str, Any]:
    return {"gloss": list(gloss), "def": "something"}


def verb(*order: str) -> dict[str, Any]:
    roles = {role: {"framenet": role, "def": "a role"} for role in sorted(order)}
    return {"framenet": "Frame", "abstract": "the AGENT does", "def": "do", "order": list(order), "roles": roles}


SPACE: dict[str, Any] = {
    "nouns": {
        MAN: noun("man", "adult male"),
        WOMAN: noun("woman", "adult female"),
        TREE: noun("oak_tree", "oak"),
        SAW: noun("saw"),
        ROAD: noun("road", "route"),
        WATER: noun("water", "H2O"),
        TAP: noun("tap"),
        BARE: {"def": "a noun without its words"},
    },
    "verbs": {
        "sawing": verb("agent", "item", "tool", "place"),
        "hugging": verb("agent", "hugged", "place"),
        "leaking": verb("substance", "source", "place"),
        "raining": verb("place"),
        "broken": {"framenet": "Frame", "order": "agent"},
    },
}


def scene(done: Any, bb: Any, *frames: Any, **other: Any) -> dict[str, Any]:
    """Return a record; one frame stands for three equal ones."""
    return {
        "verb": done,
        "height": 683,
        "width": 512,
        "bb": bb,
        "frames": list(frames) * (3 if len(frames) == 1 else 1),
        **other,
    }


HIKE = {"agent": [195, 282, 380, 554], "item": [10, 0, 600, 683], "tool": NONE, "place": NONE}
CUT = {"agent": MAN, "item": TREE, "tool": SAW, "place": ROAD}
TRAIN: dict[str, Any] = {
    "sawing_1.jpg": scene("sawing", HIKE, CUT, {**CUT, "agent": WOMAN, "tool": ""}, {**CUT, "item": MAN, "tool": ""}),
    "sawing_2.jpg": scene("sawing", HIKE, CUT, {**CUT, "item": MAN}, {**CUT, "item": ""}),
    "sawing_3.jpg": scene("sawing", HIKE, {**CUT, "agent": ""}),
    "sawing_4.jpg": scene("sawing", {**HIKE, "agent": [5, 9, 5, 20], "tool": [1, 2, 3]}, CUT),
    "sawing_5.jpg": scene("sawing", HIKE, {**CUT, "item": "n9", "tool": BARE}),
    "sawing_6.jpg": scene("sawing", {**HIKE, "scar": NONE}, {**CUT, "rope": SAW}),
    "sawing_7.jpg": scene("sawing", HIKE, CUT, CUT),
    "sawing_8.jpg": scene("swimming", HIKE, CUT),
    "sawing_9.jpg": scene("broken", HIKE, CUT),
    "sawing_10.jpg": [],
    "sawing_11.jpg": scene("sawing", HIKE, CUT, width=-1),
    "both_1.jpg": scene("sawing", HIKE, CUT),
}
DEV: dict[str, Any] = {
    "leaking_1.jpg": scene(
        "leaking",
        {"substance": [0, 0, 10.5, 20], "source": [1, 2, 30, 40], "place": [0, 0, 512, 683]},
        {"substance": WATER, "source": TAP, "place": ROAD},
    ),
    "raining_1.jpg": scene("raining", {"place": [0, 1, 512, 683]}, {"place": ROAD}),
}
TEST: dict[str, Any] = {
    "hugging_1.jpg": scene(
        "hugging",
        {"agent": [-1, 3, 40, 50], "hugged": [-1, 3, 40, 50], "place": NONE},
        {"agent": MAN, "hugged": MAN, "place": ""},
    ),
    "hugging_2.jpg": scene(
        "hugging",
        {"agent": [0, 3, 40, 50], "hugged": NONE, "place": NONE},
        {"agent": MAN, "hugged": MAN, "place": ""},
    ),
    "both_1.jpg": scene("sawing", HIKE, CUT),
}
OFFICIAL = {"train": TRAIN, "dev": DEV, "test": TEST, "imsitu_space": SPACE}


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def prepared(folder: Path, out: Path) -> PreparedDataset:
    return PreparedDataset.open(assemble("swig", SwigReader(folder), out, options=Options(validation=0)))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(write(tmp_path / "swig", **OFFICIAL), tmp_path / "out")
    man, tree = [195, 282, 380, 554], [10, 0, 512, 683]  # 600 is beside the picture of 512 x 683
    water, tap, road = [0, 0, 10.5, 20], [1, 2, 30, 40], [0, 0, 512, 683]
    friend = [0, 3, 40, 50]  # -1 alone is the edge; four times is no box
    expected: list[tuple[str, str, str, Any, Any]] = [
        ("sawing_1", "<man, sawing>", "train", man, None),
        ("sawing_1", "<man, sawing, oak tree>", "train", man, tree),  # the tool is left empty by two
        ("sawing_1", "<man>", "train", man, None),
        ("sawing_1", "<oak tree>", "train", tree, None),
        ("sawing_2", "<man, sawing>", "train", man, None),
        ("sawing_2", "<man, sawing, saw>", "train", man, None),
        ("sawing_2", "<man>", "train", man, None),
        ("sawing_3", "<oak tree>", "train", tree, None),
        ("sawing_4", "<oak tree>", "train", tree, None),
        ("sawing_5", "<man, sawing>", "train", man, None),
        ("sawing_5", "<man>", "train", man, None),
        ("leaking_1", "<water, leaking>", "val", water, None),
        ("leaking_1", "<water, leaking, tap>", "val", water, tap),
        ("leaking_1", "<water>", "val", water, None),
        ("leaking_1", "<tap>", "val", tap, None),
        ("leaking_1", "<road>", "val", road, None),
        ("raining_1", "<road>", "val", [0, 1, 512, 683], None),
        ("hugging_1", "<man, hugging>", "test", friend, None),
        ("hugging_1", "<man>", "test", friend, None),
        ("hugging_2", "<man, hugging>", "test", friend, None),
        ("hugging_2", "<man, hugging, man>", "test", friend, None),
        ("hugging_2", "<man>", "test", friend, None),
    ]
    for name, part in (("sawing_6", "train"), ("both_1", "test")):
        expected += [
            (name, "<man, sawing>", part, man, None),
            (name, "<man, sawing, oak tree>", part, man, tree),
            (name, "<man, sawing, saw>", part, man, None),
            (name, "<man>", part, man, None),
            (name, "<oak tree>", part, tree, None),
        ]
    assert sorted(rows(dataset), key=str) == sorted(expected, key=str)
    assert [record for record in rejected(dataset) if "both_1" not in record[1]] == [
        ("degenerate box", "train.json#sawing_4.jpg"),
        ("degenerate box", "train.json#sawing_4.jpg/bb/agent"),
        ("degenerate box", "train.json#sawing_4.jpg/item"),
        ("empty text", "dev.json#raining_1.jpg"),  # nobody rains
        ("empty text", "train.json#sawing_2.jpg/item"),  # a tree, a man, nothing
        ("empty text", "train.json#sawing_3.jpg"),  # nobody saws
        ("empty text", "train.json#sawing_3.jpg/item"),
        ("empty text", "train.json#sawing_3.jpg/tool"),
        ("malformed record", "train.json#sawing_10.jpg"),
        ("malformed record", "train.json#sawing_11.jpg"),
        ("malformed record", "train.json#sawing_4.jpg/tool"),
        ("malformed record", "train.json#sawing_5.jpg/tool"),
        ("malformed record", "train.json#sawing_6.jpg/rope"),
        ("malformed record", "train.json#sawing_6.jpg/scar"),
        ("malformed record", "train.json#sawing_7.jpg"),  # two frames
        ("malformed record", "train.json#sawing_9.jpg"),
        ("orphan id", "train.json#sawing_5.jpg/item"),
        ("orphan id", "train.json#sawing_8.jpg"),
        ("self relation", "test.json#hugging_1.jpg/hugged"),
    ]
    both = [record for record in rejected(dataset) if "both_1" in record[1]]
    assert both[0] == ("conflicting part", "train.json#both_1.jpg")
    assert {reason for reason, _ in both[1:]} == {"duplicate"}


def test_three_equal_nouns_and_two_are_enough_and_one_is_not(tmp_path: Path) -> None:
    frames = [{**CUT, "item": item} for item in (TREE, TREE, WATER)]
    dataset = prepared(
        write(
            tmp_path / "swig",
            **OFFICIAL | {"train": {"a.jpg": scene("sawing", HIKE, *frames)}, "dev": TEST, "test": DEV},
        ),
        tmp_path / "out",
    )
    facts = {row[1] for row in rows(dataset) if row[0] == "a"}
    assert facts == {"<man, sawing>", "<man, sawing, oak tree>", "<man, sawing, saw>", "<man>", "<oak tree>"}


def test_the_authors_folders_are_found(tmp_path: Path) -> None:
    write(tmp_path / "swig" / "SWiG_jsons", dev=DEV, train=TRAIN, imsitu_space=SPACE)
    (tmp_path / "swig" / "images_512").mkdir()
    Image.fromarray(np.zeros((683, 512, 3), dtype=np.uint8)).save(tmp_path / "swig" / "images_512" / "leaking_1.jpg")
    dataset = prepared(tmp_path / "swig", tmp_path / "out")
    assert [path.name for path in dataset.paths] == ["leaking_1.jpg"]
    assert ("missing image", "train.json#sawing_1.jpg") in rejected(dataset)
    assert [file["path"] for file in dataset.description["source_files"]] == [
        "train.json",
        "dev.json",
        "imsitu_space.json",
    ]
    notes = " ".join(dataset.description["notes"])
    assert "test.json is not there: its part is not either." in notes
    assert "2 pictures in val, where the authors published 25,200." in notes
    assert dataset.images["source_id"].to_pylist() == ["imsitu:leaking_1"]
    assert (dataset.images["width"].to_pylist(), dataset.images["height"].to_pylist()) == ([512], [683])


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("train", "not json", r"train\.json is not valid JSON \(line 1"),
        ("train", "", r"train\.json is not valid JSON"),
        ("train", "{}", r"train\.json is empty: it should be SWiG's pictures"),
        ("train", "[]", r"train\.json holds a list, not a dict: it should be SWiG's pictures"),
        ("dev", '{"a":' * 100_000, r"dev\.json is not valid JSON"),
        ("dev", '{"a": ' + "9" * 5000 + "}", r"dev\.json is not valid JSON"),
        ("imsitu_space", "[1]", r"imsitu_space\.json holds a list"),
        ("imsitu_space", {"nouns": {}}, r"imsitu_space\.json: no 'verbs'; it should be SWiG's nouns and verbs"),
        ("imsitu_space", {"nouns": [1], "verbs": {}}, r"imsitu_space\.json: 'nouns' is \[1\]; it should be SWiG's"),
        ("imsitu_space", {"nouns": {}, "verbs": {}}, r"holds no labelled picture .1 orphan id"),
        ("train", {"images": [], "annotations": [], "categories": []}, "holds no labelled picture .3 malformed"),
        ("train", {"a.jpg": [{"predicate": 1}]}, "holds no labelled picture .1 malformed record.*is not an object"),
        ("train", {"a.jpg": {"verb": "sawing", "frames": []}}, "holds no labelled picture .*no 'width'"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, name: str, value: Any, sentence: str) -> None:
    good = {"a.jpg": scene("sawing", HIKE, CUT)}
    others = {"imsitu_space": SPACE} if name == "train" else {"train": good, "imsitu_space": SPACE}
    folder = write(tmp_path / "swig", **others | {name: value})
    with pytest.raises(UserError, match=sentence):
        prepared(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_absent_and_a_folder_in_place_of_a_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist: give the folder that holds"):
        SwigReader(tmp_path / "nowhere")
    for path in (tmp_path, write(tmp_path / "space", imsitu_space=SPACE)):
        with pytest.raises(UserError, match=r"holds none of train\.json, dev\.json and test\.json"):
            SwigReader(path)
    with pytest.raises(UserError, match=r"imsitu_space\.json does not exist: it should be SWiG's nouns and verbs"):
        SwigReader(write(tmp_path / "swig", train=TRAIN))
    (tmp_path / "space" / "dev.json").mkdir()
    with pytest.raises(UserError, match=r"dev\.json is a folder: it should be SWiG's pictures"):
        SwigReader(tmp_path / "space")


@pytest.mark.parametrize(
    ("keys", "reason", "where"),
    [
        ({"height": None}, "malformed record", ""),
        ({"height": float("nan")}, "malformed record", ""),
        ({"width": 10**4000}, "malformed record", ""),
        ({"width": True}, "malformed record", ""),
        ({"verb": None}, "malformed record", ""),
        ({"verb": ["sawing"]}, "malformed record", ""),
        ({"verb": "\ud800"}, "orphan id", ""),
        ({"bb": []}, "malformed record", ""),
        ({"bb": {**HIKE, "item": None}}, "malformed record", "/item"),
        ({"bb": {role: box for role, box in HIKE.items() if role != "item"}}, "malformed record", "/item"),
        ({"bb": {**HIKE, "item": [1, 2, float("nan"), 4]}}, "malformed record", "/item"),
        ({"bb": {**HIKE, "item": [1, 2, 10**400, 4]}}, "malformed record", "/item"),
        ({"bb": {**HIKE, "item": [1, 2, "3", 4]}}, "malformed record", "/item"),
        ({"bb": {**HIKE, "item": [30, 2, 3, 40]}}, "degenerate box", "/item"),
        ({"bb": {**HIKE, "\ud800": NONE}}, "malformed record", "/\\ud800"),
        ({"frames": {}}, "malformed record", ""),
        ({"frames": [CUT, CUT, CUT, CUT]}, "malformed record", ""),
        ({"frames": [CUT, CUT, None]}, "malformed record", ""),
        ({"frames": [CUT, CUT, {**CUT, "item": 1}]}, "malformed record", "/item"),
        ({"frames": [CUT, CUT, {"agent": MAN, "tool": SAW, "place": ROAD}]}, "malformed record", "/item"),
    ],
)
def test_a_bad_record_is_rejected_and_the_others_stay(
    tmp_path: Path, keys: dict[str, Any], reason: str, where: str
) -> None:
    bad = {key: value for key, value in {**scene("sawing", HIKE, CUT), **keys}.items() if value is not None}
    train = {"bad.jpg": bad, "good.jpg": scene("sawing", HIKE, CUT)}
    dataset = prepared(write(tmp_path / "swig", train=train, imsitu_space=SPACE), tmp_path / "out")
    assert (reason, f"train.json#bad.jpg{where}") in rejected(dataset)
    assert ("good", "<man, sawing>", "train", [195, 282, 380, 554], None) in rows(dataset)


@pytest.mark.parametrize(("file", "reason"), [("", "malformed record"), ("\ud800.jpg", "malformed record")])
def test_a_picture_without_a_name_is_rejected(tmp_path: Path, file: str, reason: str) -> None:
    train = {file: scene("sawing", HIKE, CUT), "good.jpg": scene("sawing", HIKE, CUT)}
    dataset = prepared(write(tmp_path / "swig", train=train, imsitu_space=SPACE), tmp_path / "out")
    assert {row[0] for row in rows(dataset)} == {"good"}
    assert rejected(dataset)[0][0] == reason


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "swig", **OFFICIAL)
    files = [folder / f"{name}.json" for name in OFFICIAL]
    endings = damage(files, lambda trial: prepared(folder, tmp_path / "outs" / str(trial)))
    assert min(endings["data set"], endings["sentence"]) > 20
