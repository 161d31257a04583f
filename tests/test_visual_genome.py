"""Visual Genome: official files written by hand, with the defects of the real ones; and lists of aliases."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_checks import damage, rejected, rows

from data_prep import json_files
from data_prep.aliases import read_aliases
from data_prep.assemble import Options, assemble
from data_prep.visual_genome import VisualGenomeReader
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


def thing(name: Any, x: float, y: float, w: float, h: float, key: str = "name") -> dict[str, Any]:
    return {key: name, "x": x, "y": y, "w": w, "h": h, "object_id": 1, "synsets": []}


IMAGES = [
    {
        "image_id": 1,
        "url": "https://h/VG_100K_2/1.jpg",
        "width": 800,
        "height": 600,
        "coco_id": None,
        "flickr_id": None,
    },
    {"image_id": 2, "url": "https://h/VG_100K/77.jpg", "width": 500, "height": 281, "coco_id": 547168, "flickr_id": 8},
    {"id": 3, "url": None, "width": 10, "height": 10},
    {"image_id": 4, "url": "https://h/VG_100K/4.jpg", "width": 0, "height": 10},
]
RELATIONSHIPS = [
    {
        "image_id": 1,
        "relationships": [
            {
                "predicate": "ON",
                "relationship_id": 1,
                "synsets": [],
                "subject": thing("Men", 421, 91, 79, 339),
                "object": thing(["sidewalk", "street"], -5, 500, 900, 100, "names"),
            },
            {"predicate": "near.", "subject": thing("tree", 0, 0, 1, 1), "object": thing("tree", 0, 0, 0, 5)},
            {"predicate": " ", "subject": thing("tree", 0, 0, 1, 1), "object": thing("man", 0, 0, 5, 5)},
            {"predicate": "by", "subject": thing("tree", 0, 0, 1, 1)},
        ],
    },
    {
        "image_id": 99,
        "relationships": [{"predicate": "on", "subject": thing("a", 0, 0, 1, 1), "object": thing("b", 0, 0, 1, 1)}],
    },
]
ATTRIBUTES = [
    {
        "image_id": 2,
        "attributes": [
            {**thing(["clock"], 1, 2, 3, 4, "names"), "attributes": ["green", "Tall "]},
            thing(["tree"], 1, 2, 3, 4, "names"),  # the key is missing where there is none
        ],
    }
]
OBJECTS = [
    {"image_id": 3, "objects": [{**thing(["pole"], 2, 2, 3, 3, "names"), "merged_object_ids": []}], "image_url": ""}
]


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    official = {"image_data": IMAGES, "relationships": RELATIONSHIPS, "attributes": ATTRIBUTES, "objects_v1_2": OBJECTS}
    for name, value in {**official, **files}.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def prepared(source: Path, out: Path) -> PreparedDataset:
    options = Options(validation=0, test=0)
    return PreparedDataset.open(assemble("vg", VisualGenomeReader(source), out, options=options))


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    source = write(tmp_path / "vg")
    (source / "object_alias.txt").write_text("man,men,guy\n")
    (source / "relationship_alias.txt").write_text("upon,on\nabove it,upon\n")
    dataset = prepared(source, tmp_path / "out")
    found = [(image, fact, *boxes) for image, fact, _, *boxes in rows(dataset)]
    assert sorted(found, key=str) == sorted(
        [
            ("1", "<man, above it, sidewalk>", [421, 91, 500, 430], [0, 500, 800, 600]),
            ("2", "<clock, green>", [1, 2, 4, 6], None),
            ("2", "<clock, tall>", [1, 2, 4, 6], None),
            ("3", "<pole>", [2, 2, 5, 5], None),
        ],
        key=str,
    )
    assert rejected(dataset) == [
        ("degenerate box", "relationships.json#0/1"),
        ("empty text", "relationships.json#0/2"),
        ("malformed record", "image_data.json#3"),
        ("malformed record", "relationships.json#0/3"),
        ("orphan id", "relationships.json#1/0"),
    ]
    assert dataset.images["source_id"].to_pylist() == ["vg:1", "coco:547168", "vg:3"]
    assert [Path(name).name for name in dataset.images["file_name"].to_pylist()] == ["1.jpg", "77.jpg", "3.jpg"]


def test_aliases_are_followed_to_their_end_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "alias.txt"
    path.write_text("glass,glasses\nglasses,glassess\nb,a\na,b\nzebra, a zebra ,Zebras\n\n,x\n", encoding="utf-8-sig")
    assert read_aliases(path) == {
        "glasses": "glass",
        "glassess": "glass",
        "a": "a",
        "b": "a",
        "a zebra": "zebra",
        "zebras": "zebra",
    }


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4), max_size=8), st.randoms())
def test_aliases_end_and_do_not_depend_on_the_order(lines: list[list[str]], chance: random.Random) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alias.txt"
        path.write_text("\n".join(map(",".join, lines)))
        found = read_aliases(path)
        chance.shuffle(lines)
        path.write_text("\n".join(map(",".join, lines)))
        assert read_aliases(path) == found
    for word in found.values():
        assert found.get(word, word) == word  # once is enough


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"image_data": None}, "lacks image_data.json"),
        ({"image_data": "{}"}, "image_data.json is not a JSON list"),
        ({"relationships": "not json"}, "relationships.json is not a JSON list"),
        ({"relationships": "[{"}, "relationships.json is not valid JSON"),
        ({"relationships": "[" * 100_000}, "relationships.json is not valid JSON"),
        ({"relationships": "[1, 2"}, r"relationships.json is not valid JSON \(entry 1"),
        ({"relationships": "[] []"}, "goes on after the end"),
        ({"relationships": "[" + "9" * 5000 + "]"}, r"relationships.json is not valid JSON \(entry 0: Exceeds"),
        ({"relationships": ""}, "relationships.json is not a JSON list"),
        ({"relationships": None, "attributes": None, "objects_v1_2": None}, "holds none of relationships.json"),
        ({"relationships": [{"x": 1}], "attributes": None, "objects_v1_2": None}, "no labelled"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepared(write(tmp_path / "vg", **files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_long_list_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "_PIECE", 3)
    values: list[Any] = [12345, {"a": [1, {"b": "]," * 20}]}, "x, y]", None, 1.5e3, [], "ü" * 9]
    path = tmp_path / "list.json"
    for indent in (None, 2):
        path.write_text(json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8-sig")
        assert list(json_files.stream(path, "a list")) == values


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "vg")
    names = ("image_data", "relationships", "attributes")
    endings = damage(
        [source / f"{name}.json" for name in names],
        lambda trial: prepared(source, tmp_path / "outs" / str(trial)),
        trials=300,
    )
    assert min(endings["data set"], endings["sentence"]) > 20
