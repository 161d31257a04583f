"""`export`: what leaves a data set comes back, and nothing is dropped in silence."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from small_run import small_data
from source_checks import rows
from test_cli import fails, run

from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.export import export
from mas_triplets.data.export.columns import box_text, pictures_of
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, read_split, write_split
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact

WIDTH, HEIGHT = 40, 30
NAMES = ("a.png", 'b, "c"; d.png', "d\ne.png", "sub/ü 'f'.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (60 * number, 0, 0)).save(folder / name)
    return folder


def hand_made(folder: Path, pictures: Path, *labels: tuple[int, Fact, Any, Any], licence: str = "mine") -> Path:
    """Write a data set of the pictures `NAMES`, in train, val, test, train; a label is picture, fact and two boxes."""
    builder = DatasetBuilder("hand made", about={"licence": licence})
    for number, name in enumerate(NAMES):
        builder.add_image(name, str(pictures / name), (WIDTH, HEIGHT), ("train", "val", "test", "train")[number])
    for number, (picture, fact, subject, thing) in enumerate(labels):
        builder.add_instance(NAMES[picture], fact, f"list#{number}", subject_box=subject, object_box=thing)
    return builder.write(folder)


MAN, HORSE, HAT = (1.5, 2.0, 10.0, 20.25), (5.0, 6.0, 39.0, 30.0), (2.0, 2.0, 4.0, 3.0)
RIDE, WEAR = Fact("man", "ride", "horse"), Fact("man", "wear", "hat")
LABELS = (
    (0, RIDE, MAN, HORSE),
    (0, WEAR, MAN, HAT),
    (0, Fact("man"), MAN, None),
    (0, Fact("man", "smile"), MAN, None),
    (0, Fact("man", "run"), MAN, None),
    (0, Fact("dog", "run"), None, None),
    (0, RIDE, None, HORSE),
    (0, Fact("dog"), HORSE, HAT),
    (3, RIDE, HAT, HORSE),
    (1, Fact('a, "b"', "is\\not", "<c>;"), MAN, HAT),
    (2, Fact("man"), None, None),
)


def again(made: Path, folder: Path, *, source: str = "table") -> PreparedDataset:
    """What `prepare` makes of an export, with the options that `export` prints."""
    options = ("--images", folder, "--validation", 0, "--out", "again", "--overwrite", "--json")
    run("prepare", source, made, *options, cwd=made.parent)
    return PreparedDataset.open(made.parent / "again")


def assert_same(found: PreparedDataset, wanted: PreparedDataset) -> None:
    assert found.facts == wanted.facts
    assert rows(found) == rows(wanted)
    columns = ["image_id", "width", "height", "split"]
    assert found.images.select(columns) == wanted.images.select(columns)
    assert found.paths == wanted.paths


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_list_by_hand(tmp_path: Path, pictures: Path, name: str) -> None:
    dataset = PreparedDataset.open(hand_made(tmp_path / "d", pictures, LABELS[0], LABELS[5], LABELS[9]))
    export(dataset, "table", tmp_path / name)
    text = (tmp_path / name).read_text(encoding="utf-8")
    first, second = str(pictures / NAMES[0]), str(pictures / NAMES[1])
    if name == "list.csv":
        quoted = second.replace('"', '""')
        assert text == (
            "image,subject,predicate,object,split,subject_box,object_box\n"
            f"{first},dog,run,,train,,\n"
            f"{first},man,ride,horse,train,1.5 2 10 20.25,5 6 39 30\n"
            f'"{quoted}","a, ""b""",is\\not,<c>;,val,1.5 2 10 20.25,2 2 4 3\n'
        )
    else:
        assert [json.loads(line) for line in text.splitlines()][:2] == [
            {"image": first, "subject": "dog", "predicate": "run", "split": "train"},
            {
                "image": first,
                "subject": "man",
                "predicate": "ride",
                "object": "horse",
                "split": "train",
                "subject_box": [1.5, 2, 10, 20.25],
                "object_box": [5, 6, 39, 30],
            },
        ]


WORDS = st.text(st.sampled_from("ab,;\"'<>\\ß é*\t\u2028\x00"), min_size=1, max_size=6)
EDGES = st.floats(0, WIDTH / 2, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, ...] | None:
    """None, or a box inside the picture whose numbers are those of 32 bits, as the tables hold them."""
    if draw(st.booleans()):
        return None
    x, y = draw(EDGES), draw(st.floats(0, HEIGHT / 2, width=32))
    far = st.sampled_from([WIDTH / 2 + 0.1, WIDTH * 0.7, WIDTH]), st.sampled_from([HEIGHT / 2 + 0.3, HEIGHT])
    return tuple(map(float, np.array([x, y, draw(far[0]), draw(far[1])], dtype=np.float32)))


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    while True:
        words = draw(st.lists(WORDS, min_size=1, max_size=3))
        try:
            fact = Fact(*words)
        except UserError:  # nothing but spaces
            continue
        if fact.is_labelled_form:
            return fact


def label() -> st.SearchStrategy[tuple[int, Fact, Any, Any]]:
    """Picture, fact and two boxes; no thing is related to itself, which no source lets in."""
    made = st.tuples(st.integers(0, 3), facts(), boxes(), boxes())
    return made.filter(lambda label: label[1].subject != label[1].object or label[2] != label[3])


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(label(), min_size=1, max_size=12),
    ending=st.sampled_from([".csv", ".jsonl"]),
)
def test_a_list_is_read_back_to_the_same_data_set(
    pictures: Path, labels: list[tuple[int, Fact, Any, Any]], ending: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = PreparedDataset.open(hand_made(folder / "d", pictures, *labels))
        export(dataset, "table", folder / f"list{ending}")
        found = again(folder / f"list{ending}", pictures)
        assert not found.description["rejected"]
        assert_same(found, dataset)


def test_pictures_inside_the_data_set_are_named_from_its_folder(tmp_path: Path) -> None:
    builder = DatasetBuilder("inside")
    for name, part in (("x", "train"), ("y", "test")):
        builder.add_image(name, f"images/{name}.png", (4, 4), part)
        builder.add_instance(name, Fact("dog"), name)

    def fill(folder: Path) -> None:
        (folder / "images").mkdir()
        for name in ("x", "y"):  # of two greys: one picture in two parts would be left out
            Image.new("L", (4, 4), ord(name)).save(folder / "images" / f"{name}.png")

    dataset = PreparedDataset.open(builder.write(tmp_path / "d", fill=fill))
    done = export(dataset, "table", tmp_path / "list.csv")
    assert done.read_back is not None
    told = shlex.split(done.read_back)
    assert told[told.index("--images") + 1] == str(tmp_path / "d")
    assert told[told.index("--validation") + 1] == "0"  # there is no validation part, and none shall be drawn
    assert [row.split(",")[0] for row in (tmp_path / "list.csv").read_text().splitlines()[1:]] == [
        "images/x.png",
        "images/y.png",
    ]
    found = again(tmp_path / "list.csv", tmp_path / "d")
    assert [path.resolve() for path in found.paths] == dataset.paths
    assert found.images["split"].to_pylist() == ["train", "test"]


def test_a_data_set_without_pictures_is_exported_and_told(tmp_path: Path) -> None:
    builder = DatasetBuilder("alone")
    builder.add_image("x", "images/x.jpg", None, "train", licence="CC BY 2.0", url="https://x.org/x.jpg")
    builder.add_instance("x", Fact("dog"), "x")
    dataset = PreparedDataset.open(builder.write(tmp_path / "d"))
    write_split(dataset, make_split("one", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    done = export(dataset, "table", tmp_path / "list.csv")
    assert "prepared without its pictures" in done.notes[0]
    assert "images/x.jpg,dog,,,train,," in (tmp_path / "list.csv").read_text()
    lll = export(dataset, "lll", tmp_path / "lll", split="one")
    assert lll.read_back is not None
    assert "--images" not in lll.read_back
    coco = export(dataset, "coco-rel", tmp_path / "coco")
    assert "1 pictures have no width and height" in coco.notes[-1]
    (image,) = json.loads((tmp_path / "coco" / "train.json").read_text())["images"]
    assert image == {
        "id": 1,
        "file_name": "x.jpg",
        "width": None,
        "height": None,
        "license": 2,
        "name": "x",
        "coco_url": "https://x.org/x.jpg",
    }


def test_boxes_as_text_by_hand() -> None:
    kind = pa.list_(pa.float32(), 4)
    column = pa.array([None, [0.1, 2, 3.5, 4], [1, 2, 3, 4], None, [0.3, 0, 1e-7, 9000000]], kind)
    assert box_text(column).to_pylist()[:4] == [None, "0.1 2 3.5 4", "1 2 3 4", None]
    assert box_text(column.slice(2)).to_pylist()[:2] == ["1 2 3 4", None]
    last = [float(number) for number in box_text(column)[4].as_py().split()]
    assert np.array(last, dtype=np.float32).tolist() == column[4].as_py()
    assert box_text(pa.nulls(2, kind)).to_pylist() == [None, None]


def test_the_folder_of_the_pictures(tmp_path: Path, pictures: Path) -> None:
    dataset = PreparedDataset.open(hand_made(tmp_path / "d", pictures, LABELS[0], LABELS[8]))
    assert pictures_of(dataset).folder == pictures  # the image_ids are names from there, whatever is used of it
    assert pictures_of(dataset).links == ["a.png", "sub/ü 'f'.png"]
    below = PreparedDataset.open(hand_made(tmp_path / "below", pictures, LABELS[8]))
    assert (pictures_of(below).folder, pictures_of(below).links) == (pictures, ["sub/ü 'f'.png"])
    small = small_data(tmp_path)
    assert pictures_of(small).folder == tmp_path / "pictures"
    assert pictures_of(small).links[:2] == ["000.png", "001.png"]
    builder = DatasetBuilder("other names")
    for number, name in enumerate(NAMES):
        builder.add_image(f"{number}", str(pictures / name), (WIDTH, HEIGHT), "train")
        builder.add_instance(f"{number}", Fact("dog"), name)
    other = PreparedDataset.open(builder.write(tmp_path / "other"))
    assert pictures_of(other).folder == pictures
    assert pictures_of(other).links == list(NAMES)


def read_csv(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_lll_by_hand(tmp_path: Path, pictures: Path) -> None:
    labels = [*LABELS[:7], LABELS[8], LABELS[10], (1, Fact("sea lion", "jump over", "none"), None, None)]
    dataset = PreparedDataset.open(hand_made(tmp_path / "d", pictures, *labels))
    ids = {str(fact): number for number, fact in enumerate(dataset.facts)}
    assert ids == {
        "<man>": 0,
        "<dog, run>": 1,
        "<man, run>": 2,
        "<man, smile>": 3,
        "<man, ride, horse>": 4,
        "<man, wear, hat>": 5,
        "<sea lion, jump over, none>": 6,
    }
    groups = [("first", np.array([0, 4, 6])), ("second", np.array([1, 2, 3, 5]))]
    write_split(dataset, make_split("mine", "file", 0, {}, groups))
    done = export(dataset, "lll", tmp_path / "out", split="mine")
    assert done.path == tmp_path / "out" / "splits" / "mine"
    header = ["image_links", "NLP_links", "SPO", "id", "w_s", "w_p", "w_o"]
    assert read_csv(done.path / "B1_train.csv") == [
        header,
        ["a.png", "facts/0.txt", "<man>", "0", "1", "0", "0"],
        ["a.png", "facts/4.txt", "<man,ride,horse>", "4", "1", "1", "1"],
        ["sub/ü 'f'.png", "facts/4.txt", "<man,ride,horse>", "4", "1", "1", "1"],
    ]
    assert read_csv(done.path / "B1_test.csv") == [
        header,
        ["d\ne.png", "facts/0.txt", "<man>", "0", "1", "0", "0"],
    ]
    assert read_csv(done.path / "B1_val.csv") == [
        header,
        [NAMES[1], "facts/6.txt", "<sea_lion,jump_over,none>", "6", "1", "1", "1"],
    ]
    assert read_csv(done.path / "B1_facts.csv") == [
        ["id", "type", "S", "P", "O"],
        ["0", "S", "man", "", ""],
        ["4", "SPO", "man", "ride", "horse"],
        ["6", "SPO", "sea_lion", "jump_over", "none"],
    ]
    assert read_csv(done.path / "B2_test.csv") == [header]
    assert read_csv(done.path / "B2_facts.csv")[1] == ["1", "SP", "dog", "run", ""]
    assert not (done.path / "B2_val.csv").exists()
    notes = " ".join(done.notes)
    assert "1 rows of validation pictures" in notes
    assert "7 labels have boxes" in notes
    assert "1 facts hold the word nan or none" in notes
    assert "2 pictures have a path that readers of the layout change" in notes
    assert done.rows[0] == {"file": "B1", "task": "first", "facts": 3, "train": 3, "val": 1, "test": 1}


def test_pictures_that_differ_in_the_extension_alone_are_told(tmp_path: Path) -> None:
    builder = DatasetBuilder("alike")
    for name in ("x.png", "x.jpg", "y.png"):
        builder.add_image(name, f"images/{name}", (4, 4), "train")
        builder.add_instance(name, Fact("dog"), name)
    dataset = PreparedDataset.open(builder.write(tmp_path / "d"))
    write_split(dataset, make_split("one", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    notes = export(dataset, "lll", tmp_path / "out", split="one").notes
    assert notes[-1].startswith("1 pictures have a path that readers of the layout change or take for another's")


def test_lll_is_read_back_to_the_same_facts_tasks_and_parts(tmp_path: Path) -> None:
    dataset = small_data(tmp_path)
    done = export(dataset, "lll", tmp_path / "out", split="two")
    assert done.read_back is not None
    told = shlex.split(done.read_back)
    found = again(done.path, Path(told[told.index("--images") + 1]), source="lll")
    assert not found.description["rejected"]
    assert found.facts == dataset.facts
    given, made = read_split(dataset, "two"), read_split(found, "two")
    assert [task.fact_ids for task in made.tasks] == [task.fact_ids for task in given.tasks]
    wanted = sorted({row[:3] for row in rows(dataset)})
    assert [row[:3] for row in rows(found)] == sorted(
        wanted, key=lambda row: (row[0], dataset.facts.index(Fact.parse(row[1])))
    )
    assert found.paths == dataset.paths


def test_coco_by_hand(tmp_path: Path, pictures: Path) -> None:
    dataset = PreparedDataset.open(hand_made(tmp_path / "d", pictures, *LABELS))
    done = export(dataset, "coco-rel", tmp_path / "out")
    assert done.rows == [
        {"file": "train.json", "images": 2, "annotations": 6, "rel_annotations": 3, "image_facts": 3},
        {"file": "val.json", "images": 1, "annotations": 2, "rel_annotations": 1, "image_facts": 0},
        {"file": "test.json", "images": 1, "annotations": 0, "rel_annotations": 0, "image_facts": 1},
    ]
    tree = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in tree["categories"]] == ["<c>;", 'a, "b"', "dog", "hat", "horse", "man"]
    assert [entry["id"] for entry in tree["categories"]] == [1, 2, 3, 4, 5, 6]
    assert tree["rel_categories"] == [
        {"id": 0, "name": "is\\not"},
        {"id": 1, "name": "ride"},
        {"id": 2, "name": "wear"},
    ]
    assert tree["att_categories"] == [{"id": 0, "name": "run"}, {"id": 1, "name": "smile"}]
    assert tree["licenses"] == [{"id": 1, "name": "mine", "url": ""}]
    assert [(image["id"], image["file_name"]) for image in tree["images"]] == [(1, "a.png"), (4, "sub/ü 'f'.png")]
    assert tree["annotations"][3] == {
        "id": 4,
        "image_id": 1,
        "category_id": 6,
        "bbox": [1.5, 2.0, 8.5, 18.25],
        "area": 155.125,
        "iscrowd": 0,
        "attributes": [0, 1],
        "is_fact": True,
    }
    shown = [(a["image_id"], a["category_id"], a["bbox"], a["attributes"], a["is_fact"]) for a in tree["annotations"]]
    assert shown[:3] + shown[4:] == [
        (1, 3, [5, 6, 34, 24], [], False),  # the dog, whose fact has a box too many
        (1, 4, [2, 2, 2, 1], [], False),
        (1, 5, [5, 6, 34, 24], [], False),
        (4, 5, [5, 6, 34, 24], [], False),
        (4, 6, [2, 2, 2, 1], [], False),
    ]
    assert tree["rel_annotations"] == [
        {"id": 1, "subject_id": 4, "predicate_id": 1, "object_id": 3, "image_id": 1},
        {"id": 2, "subject_id": 4, "predicate_id": 2, "object_id": 2, "image_id": 1},
        {"id": 3, "subject_id": 6, "predicate_id": 1, "object_id": 5, "image_id": 4},
    ]
    assert [tuple(fact.values())[1:] for fact in tree["image_facts"]] == [
        (1, "dog", None, None, [5, 6, 34, 24], [2, 2, 2, 1]),
        (1, "dog", "run", None, None, None),
        (1, "man", "ride", "horse", None, [5, 6, 34, 24]),
    ]


def test_pycocotools_reads_it(tmp_path: Path) -> None:
    dataset = small_data(tmp_path)
    export(dataset, "coco-rel", tmp_path / "out")
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "out" / "train.json"))
    assert len(coco.getImgIds()) == 12
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert sorted(names.values()) == ["cat", "dog", "horse", "person"]
    (first,) = coco.loadImgs([1])
    assert (first["file_name"], first["width"], first["height"]) == ("000.png", 20, 16)
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert {names[annotation["category_id"]]: annotation["bbox"] for annotation in found} == {
        "person": [2, 3, 8, 9],
        "horse": [8, 1, 11, 8],
    }
    assert len(coco.getAnnIds(catIds=coco.getCatIds(catNms=["dog"]))) == 6
    assert coco.getAnnIds(areaRng=[80, 100], imgIds=[1]) == [1]


def facts_of(tree: dict[str, Any]) -> list[Any]:
    """All labels that a file with relations holds: picture, words, boxes as 32-bit corners."""
    name = {kind: {entry["id"]: entry["name"] for entry in tree[kind]} for kind in tree if kind.endswith("categories")}
    image = {entry["id"]: entry["name"] for entry in tree["images"]}
    things = {entry["id"]: entry for entry in tree["annotations"]}

    def corners(box: list[float] | None) -> list[float] | None:
        if box is None:
            return None
        edges = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]], dtype=np.float32)
        return [float(edge) for edge in edges]

    found: list[Any] = []
    for thing in things.values():
        about = (name["categories"][thing["category_id"]], corners(thing["bbox"]))
        predicates = [name["att_categories"][number] for number in thing["attributes"]]
        for predicate in [*predicates, *([None] if thing["is_fact"] else [])]:
            found.append([image[thing["image_id"]], [about[0], predicate, None], about[1], None])
    for relation in tree["rel_annotations"]:
        two = [things[relation[key]] for key in ("subject_id", "object_id")]
        assert {thing["image_id"] for thing in two} == {relation["image_id"]}
        words = [name["categories"][thing["category_id"]] for thing in two]
        words.insert(1, name["rel_categories"][relation["predicate_id"]])
        found.append([image[relation["image_id"]], words, *(corners(thing["bbox"]) for thing in two)])
    for fact in tree["image_facts"]:
        words = [fact[slot] for slot in SLOTS]
        found.append([image[fact["image_id"]], words, corners(fact["subject_bbox"]), corners(fact["object_bbox"])])
    return found


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(label(), min_size=1, max_size=12))
def test_coco_holds_every_label_once(pictures: Path, labels: list[tuple[int, Fact, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        dataset = PreparedDataset.open(hand_made(Path(name) / "d", pictures, *labels))
        export(dataset, "coco-rel", Path(name) / "out")
        found = [
            [*label, path.stem]
            for path in sorted((Path(name) / "out").glob("t*.json")) + sorted((Path(name) / "out").glob("v*.json"))
            for label in facts_of(json.loads(path.read_text(encoding="utf-8")))
        ]
        table = pq.read_table(dataset.folder / "instances.parquet").to_pylist()
        wanted = [
            [
                row["image_id"],
                list(dataset.facts[row["fact_id"]].slots),
                row["subject_box"],
                row["object_box"],
                row["split"],
            ]
            for row in table
        ]
        assert sorted(found, key=repr) == sorted(wanted, key=repr)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    small_data(folder)
    return folder


FORMS = (("table", "list.csv", ()), ("lll", "lll", ("--split", "two")), ("coco-rel", "coco", ()))


@pytest.mark.parametrize(("form", "out", "more"), FORMS)
def test_the_command_prints_what_it_wrote(home: Path, form: str, out: str, more: tuple[str, ...]) -> None:
    printed = run("export", "data", "--format", form, "--out", out, *more, cwd=home).stdout
    assert f"{form} of small" in printed
    assert (home / out).exists()
    tree = json.loads(run("export", "data", "--format", form, "--out", out, *more, "--json", cwd=home).stdout)
    assert list(tree) == ["path", "format", "rows", "notes", "read_back"]
    assert tree["format"] == form
    assert tree["path"].startswith(out)
    if form == "coco-rel":
        assert tree["read_back"] is None
        return
    assert f"Read it back with: {tree['read_back']}" in printed
    run(*shlex.split(tree["read_back"])[1:], "--overwrite", cwd=home)
    found = PreparedDataset.open(home / "data-again")
    assert found.facts == PreparedDataset.open(home / "data").facts


@pytest.mark.parametrize(("form", "out", "more"), FORMS)
def test_what_is_there_is_replaced_only_when_asked(
    tmp_path: Path, pictures: Path, form: str, out: str, more: tuple[str, ...]
) -> None:
    datasets = []
    for number, labels in enumerate((LABELS[:3], LABELS)):
        datasets.append(PreparedDataset.open(hand_made(tmp_path / f"d{number}", pictures, *labels)))
        groups = random_split(datasets[-1].facts, 2, 0)
        write_split(datasets[-1], make_split("two", "random", 0, {}, groups))
    split = more[1] if more else None

    def contents() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() for path in [tmp_path / out, *(tmp_path / out).rglob("*")] if path.is_file()
        }

    export(datasets[0], form, tmp_path / out, split=split)
    first = contents()
    export(datasets[0], form, tmp_path / out, split=split)  # the same is no other
    with pytest.raises(UserError, match="pass --overwrite"):
        export(datasets[1], form, tmp_path / out, split=split)
    assert contents() == first
    export(datasets[1], form, tmp_path / out, split=split, overwrite=True)
    assert contents() != first
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_strangers_files_are_left_alone(tmp_path: Path, home: Path) -> None:
    dataset = PreparedDataset.open(home / "data")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.jpg").write_text("mine")
    with pytest.raises(UserError, match=r"photos holds mine\.jpg, which no export wrote"):
        export(dataset, "coco-rel", photos, overwrite=True)
    export(dataset, "coco-rel", tmp_path / "coco")
    (tmp_path / "coco" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        export(dataset, "coco-rel", tmp_path / "coco", overwrite=True)
    with pytest.raises(UserError, match="is a file: give --out the name of a folder"):
        export(dataset, "coco-rel", tmp_path / "coco" / "notes.txt", overwrite=True)
    assert (photos / "mine.jpg").read_text() == (tmp_path / "coco" / "notes.txt").read_text() == "mine"
    shutil.copytree(home / "pictures", tmp_path / "lll" / "images")
    export(dataset, "lll", tmp_path / "lll", split="two")  # the pictures may lie where that code wants them
    assert len(list((tmp_path / "lll" / "images").iterdir())) == 24


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--format", "coco", "--out", "x"), "unknown value of --format 'coco'"),
        (("--format", "lll", "--out", "x"), "pass --split NAME, one of two"),
        (("--format", "lll", "--out", "x", "--split", "tow"), "did you mean 'two'?"),
        (("--format", "table", "--out", "x.csv", "--split", "two"), "--split goes with --format lll"),
        (("--format", "table", "--out", "x.xlsx"), "must end in .csv or .jsonl"),
        (("--format", "table", "--out", "folder.csv"), "folder.csv is a folder"),
    ],
)
def test_wrong_wishes_are_sentences(home: Path, arguments: tuple[str, ...], says: str) -> None:
    (home / "folder.csv").mkdir(exist_ok=True)
    fails("export", "data", *arguments, cwd=home, says=says)
    assert not (home / "x").exists()
    fails("export", "nowhere", "--format", "table", "--out", "x.csv", cwd=home, says="nowhere does not exist")


def test_without_a_split_lll_says_how_to_make_one(tmp_path: Path, pictures: Path) -> None:
    dataset = PreparedDataset.open(hand_made(tmp_path / "d", pictures, *LABELS))
    with pytest.raises(UserError, match=r"has none yet: make one with `mas-triplets split .*/d --method random"):
        export(dataset, "lll", tmp_path / "out")


def test_a_name_that_csv_cannot_hold_is_told(tmp_path: Path) -> None:
    builder = DatasetBuilder("odd")
    builder.add_image("x", str(tmp_path / "a\rb.png"), (4, 4), "train")
    builder.add_instance("x", Fact("dog"), "x")
    dataset = PreparedDataset.open(builder.write(tmp_path / "d"))
    Image.new("RGB", (4, 4)).save(tmp_path / "a\rb.png")
    with pytest.raises(UserError, match=r"write \.jsonl, not \.csv"):
        export(dataset, "table", tmp_path / "list.csv")
    export(dataset, "table", tmp_path / "list.jsonl")
    assert again(tmp_path / "list.jsonl", tmp_path).paths == dataset.paths


def test_a_file_that_no_export_wrote_is_not_replaced(tmp_path: Path) -> None:
    dataset = small_data(tmp_path)
    for name, content in (("thesis.csv", "image,subject\na,b\n"), ("thesis.jsonl", '{"image": 1}\n')):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="no export wrote it"):
            export(dataset, "table", tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_text() == content
    for ending in ("csv", "jsonl"):
        file = export(dataset, "table", tmp_path / f"list.{ending}").path
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        export(dataset, "table", file, overwrite=True)
        assert file.read_bytes() == whole
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    (folder / "export.json").write_text('{"files": ["mine.txt"]}')
    with pytest.raises(UserError, match=r"holds mine\.txt, which no export wrote"):
        export(dataset, "coco-rel", folder, overwrite=True)
