"""GQA: official files written by hand, with both forms of its relations and with damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_checks import damage, rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.gqa import GqaReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


def thing(name: Any, x: Any, y: Any, w: Any, h: Any, attributes: Any = (), relations: Any = ()) -> dict[str, Any]:
    attributes, relations = (list(given) if given == () else given for given in (attributes, relations))
    return {"name": name, "x": x, "y": y, "w": w, "h": h, "attributes": attributes, "relations": relations}


def graph(objects: Any, **other: Any) -> dict[str, Any]:
    return {"width": 640, "height": 480, "location": "indoors", "weather": "none", "objects": objects, **other}


RELATIONS: list[Any] = [
    {"name": "on", "object": "275312"},
    {"name": "to the left of", "object": "275312"},
    {"name": "near", "object": "999"},
    {"name": "to the right of", "object": "999"},
    {"name": "near", "object": "5"},
    {"name": "on", "object": "275312"},
    {"object": "275312"},
]
TRAIN: dict[str, Any] = {
    "2407890": graph(
        {
            "271881": thing("chair", 220, 310, 50, 80, ["brown", "small", 7], RELATIONS),
            "275312": thing("rug", 0, 300, 700, 100, [], {"32452": {"name": "under", "object": "271881"}}),
            "5": thing("lamp", 9, 9, None, 4, ["lit"], [{"name": "on", "object": "275312"}]),
            "6": thing("dot", 9, 9, 0, 4),
        }
    ),
    "12": graph([], width=1 << 40),
    "13": graph([]),
}
VAL: dict[str, Any] = {"77": graph({"1": thing("chair", 1.5, 2, 3, 4)}), "2407890": graph({})}


def write(folder: Path, train: Any = TRAIN, val: Any = VAL) -> Path:
    """Write the official files; a value of None leaves one out, text is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, value in (("train", train), ("val", val)):
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / f"{part}_sceneGraphs.json").write_text(text, encoding="utf-8")
    return folder


def prepared(tmp_path: Path, train: Any = TRAIN, val: Any = VAL) -> PreparedDataset:
    reader = GqaReader(write(tmp_path / "gqa", train, val))
    return PreparedDataset.open(assemble("gqa", reader, tmp_path / "out", options=Options(validation=0)))


def test_these_files_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)  # the first picture is in both files: it is kept in the validation part
    chair, rug = [220, 310, 270, 390], [0, 300, 640, 400]  # x y x+w y+h; the rug reaches beyond the picture
    assert rows(dataset) == [
        ("2407890", "<chair>", "val", chair, None),
        ("2407890", "<rug>", "val", rug, None),
        ("2407890", "<chair, brown>", "val", chair, None),
        ("2407890", "<chair, small>", "val", chair, None),
        ("2407890", "<chair, on, rug>", "val", chair, rug),
        ("2407890", "<rug, under, chair>", "val", rug, chair),
        ("77", "<chair>", "val", [1.5, 2, 4.5, 6], None),
    ]
    one = "train_sceneGraphs.json#2407890"
    assert rejected(dataset) == [
        ("conflicting part", "train_sceneGraphs.json#2407890"),
        ("degenerate box", f"{one}/6"),
        ("duplicate", f"{one}/271881/relations/5"),
        ("malformed record", "train_sceneGraphs.json#12"),
        ("malformed record", "train_sceneGraphs.json#13/objects"),
        ("malformed record", f"{one}/271881/attributes/2"),
        ("malformed record", f"{one}/271881/relations/6"),
        ("malformed record", f"{one}/5"),
        ("not asked for", f"{one}/271881/relations/1"),
        ("not asked for", f"{one}/271881/relations/3"),
        ("orphan id", f"{one}/271881/relations/2"),
        ("orphan id", f"{one}/271881/relations/4"),
    ]


def test_origins_and_notes_are_kept_and_one_file_is_enough(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, val=None)
    assert dataset.images["source_id"].to_pylist() == ["vg:2407890"]
    assert dataset.images["file_name"].to_pylist() == ["images/2407890.jpg"]
    notes = " ".join(dataset.description["notes"])
    assert 'Relations "to the left of" and "to the right of" were computed from boxes and are left out.' in notes
    assert "val_sceneGraphs.json is not there." in notes
    assert "pictures in train, where the authors published 74,942." in notes


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("not json", r"train_sceneGraphs\.json is not valid JSON \(line 1"),
        ("", r"train_sceneGraphs\.json is not valid JSON"),
        ("[]", r"train_sceneGraphs\.json holds a list, not a dict: it should be GQA's"),
        ("{}", r"train_sceneGraphs\.json is empty"),
        ("[" * 100_000, r"train_sceneGraphs\.json is not valid JSON"),
        ('{"1": ' + "9" * 5000 + "}", r"train_sceneGraphs\.json is not valid JSON"),
        ({"images": [], "annotations": []}, "holds no labelled picture .2 malformed record"),
        (None, "holds neither train_sceneGraphs.json nor val_sceneGraphs.json"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, train: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(tmp_path, train, None)
    assert not (tmp_path / "out").exists()


def test_an_absent_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        GqaReader(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("image_id", "bad", "expected"),
    [
        ("1", None, ("malformed record", "1")),
        ("1", graph({}, width=None), ("malformed record", "1")),
        ("1", graph({}, height=0), ("malformed record", "1")),
        ("1", graph({}, height=10**4000), ("malformed record", "1")),
        ("\ud800", graph({}), ("malformed record", "1")),
        (" ", graph({}), ("malformed record", "1")),
        ("1", graph({"2": []}), ("malformed record", "1/2")),
        ("1", graph({"\ud800": []}), ("malformed record", "1/0")),
        ("1", graph({"2": thing(5, 1, 1, 1, 1)}), ("malformed record", "1/2")),
        ("1", graph({"2": thing(" ", 1, 1, 1, 1)}), ("empty text", "1/2")),
        ("1", graph({"2": thing("\ud800", 1, 1, 1, 1)}), ("malformed record", "1/2")),
        ("1", graph({"2": thing("a", float("nan"), 1, 1, 1)}), ("malformed record", "1/2")),
        ("1", graph({"2": thing("a", 1, 1, 10**400, 1)}), ("malformed record", "1/2")),
        ("1", graph({"2": thing("a", 1e308, 1, 1e308, 1)}), ("degenerate box", "1/2")),
        ("1", graph({"2": thing("a", 1, 1, 1, 1, "red")}), ("malformed record", "1/2/attributes")),
        ("1", graph({"2": thing("a", 1, 1, 1, 1, [], 5)}), ("malformed record", "1/2/relations")),
        ("1", graph({"2": thing("a", 1, 1, 1, 1, [], ["on"])}), ("malformed record", "1/2/relations/0")),
        ("1", graph({"2": thing("a", 1, 1, 1, 1, [], {"9": {"name": "on"}})}), ("malformed record", "1/2/relations/9")),
        (
            "1",
            graph({"2": thing("a", 1, 1, 1, 1, [], [{"name": "on", "object": "2"}])}),
            ("self relation", "1/2/relations/0"),
        ),
    ],
)
def test_a_bad_record_is_rejected_and_the_others_stay(
    tmp_path: Path, image_id: str, bad: Any, expected: tuple[str, str]
) -> None:
    good = graph({"1": thing("chair", 1, 2, 3, 4)})
    dataset = prepared(tmp_path, {"9": good, image_id: bad}, None)
    assert (expected[0], f"train_sceneGraphs.json#{expected[1]}") in rejected(dataset)
    assert ("9", "<chair>", "train", [1, 2, 4, 6], None) in rows(dataset)


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "gqa")
    endings = damage(
        [folder / "train_sceneGraphs.json"],
        lambda trial: assemble("gqa", GqaReader(folder), tmp_path / "outs" / str(trial)),
    )
    assert min(endings["data set"], endings["sentence"]) > 20
