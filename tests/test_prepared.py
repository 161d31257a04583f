"""The prepared data set: written whole, read back, the same bytes for the same input, and clear when damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mas_triplets.data.boxes import clip_box, enclosing_box
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact

ROWS = [
    ("b.png", Fact("person", "ride", "horse"), (0.0, 0.0, 5.0, 8.0), (3.0, 4.0, 10.0, 10.0)),
    ("b.png", Fact("person"), (0.0, 0.0, 5.0, 8.0), None),
    ("a.png", Fact("dog", "run"), None, None),
    ("c.png", Fact("person"), None, None),
]


def builder(rows: list[int]) -> DatasetBuilder:
    made = DatasetBuilder("small", about={"licence": "none"}, options={"x": 1})
    for name, part in (("a.png", "train"), ("b.png", "train"), ("c.png", "test")):
        made.add_image(name, f"/pictures/{name}", (10, 12), part)
    for row in rows:
        image, fact, subject, target = ROWS[row]
        made.add_instance(image, fact, f"list#{row}", subject_box=subject, object_box=target)
    return made


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    dataset = PreparedDataset.open(builder([0, 1, 2, 3]).write(tmp_path / "d"))
    assert [str(fact) for fact in dataset.facts] == ["<person>", "<dog, run>", "<person, ride, horse>"]
    assert dataset.images["image_id"].to_pylist() == ["a.png", "b.png", "c.png"]
    assert dataset.image_part.tolist() == [0, 0, 2]
    assert dataset.instance_fact.tolist() == [1, 0, 2, 0]
    assert dataset.instance_image.tolist() == [0, 1, 1, 2]
    assert dataset.instance_box[2].tolist() == [0, 0, 10, 10]  # around subject and object
    assert np.isnan(dataset.instance_box[0]).all()
    assert dataset.fact_counts().tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert dataset.words == ("dog", "horse", "person", "ride", "run")
    assert dataset.paths[0] == Path("/pictures/a.png")


def test_the_order_of_records_changes_no_byte(tmp_path: Path) -> None:
    first = builder([0, 1, 2, 3]).write(tmp_path / "one")
    second = builder([3, 1, 0, 2]).write(tmp_path / "two")
    assert digest(first) == digest(second)


def test_repetition_keeps_what_the_user_added_and_another_data_set_is_not_replaced(tmp_path: Path) -> None:
    out = builder([0, 1, 2, 3]).write(tmp_path / "d")
    (out / "splits").mkdir()
    (out / "splits" / "mine.json").write_text("{}")
    builder([0, 1, 2, 3]).write(out)
    assert (out / "splits" / "mine.json").is_file()
    with pytest.raises(UserError, match="--overwrite"):
        builder([0, 1]).write(out)
    assert len(PreparedDataset.open(out).facts) == 3
    builder([0, 1]).write(out, overwrite=True)
    assert len(PreparedDataset.open(out).facts) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]  # nothing half-written is left beside it


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["facts.parquet", "rejected.jsonl", "images/a.png"])
def test_repetition_mends_what_is_damaged_and_keeps_the_splits(tmp_path: Path, name: str, overwrite: bool) -> None:
    def fill(folder: Path) -> None:
        (folder / "images").mkdir()
        (folder / "images" / "a.png").write_bytes(b"a")

    def write() -> Path:
        made = builder([0, 1, 2, 3])
        made.add_image("a.png", "images/a.png", (10, 12), "train")
        return made.write(tmp_path / "d", fill=fill, overwrite=overwrite)

    out = write()
    whole = (out / name).read_bytes()
    (out / "splits").mkdir()
    (out / "splits" / "mine.json").write_text("{}")
    (out / "cache").write_text("kept while the data set is whole")
    write()
    assert (out / "cache").is_file()
    (out / name).unlink() if name.endswith(".png") else (out / name).write_bytes(b"damage")
    write()
    assert (out / name).read_bytes() == whole
    assert (out / "splits" / "mine.json").is_file()
    assert len(PreparedDataset.open(out).facts) == 3


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a prepared data set"):
        builder([0]).write(tmp_path / "d", overwrite=True)
    assert (tmp_path / "d" / "thesis.txt").read_text() == "mine"


def test_nothing_valid_is_an_error_that_says_why(tmp_path: Path) -> None:
    made = builder([])
    made.reject("list#1", "missing image", "x.png is not there")
    with pytest.raises(UserError, match=r"1 missing image.*list#1"):
        made.write(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_repeated_instance_is_rejected_by_name(tmp_path: Path) -> None:
    made = builder([0, 0, 1])
    assert made.rejected == {"duplicate": 1}
    out = made.write(tmp_path / "d")
    (record,) = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert record["source"] == "list#0"
    assert json.loads((out / "dataset.json").read_text())["rejected"] == {"duplicate": 1}


def test_carving_leaves_a_training_picture_to_every_fact() -> None:
    made = DatasetBuilder("many")
    for number in range(20):
        made.add_image(f"{number}", f"{number}.png", None, None)
        made.add_instance(f"{number}", Fact("common"), f"{number}")
        made.add_instance(f"{number}", Fact(f"rare {number % 10}"), f"{number}r")
    moved = made.carve("val", 0.8, seed=1, out_of=None)
    assert moved == (10, 16)  # each rare fact has two pictures, and keeps one
    left = [number for number in range(20) if made.part_of(f"{number}") is None]
    assert {number % 10 for number in left} == set(range(10))


def damage_column(folder: Path) -> None:
    table = pq.read_table(folder / "facts.parquet").drop_columns(["order"])
    pq.write_table(table, folder / "facts.parquet")


def damage_reference(folder: Path) -> None:
    table = pq.read_table(folder / "instances.parquet")
    column = pa.array(["nowhere.png"] * len(table))
    pq.write_table(table.set_column(0, "image_id", column), folder / "instances.parquet")


def damage_names(folder: Path) -> None:
    table = pq.read_table(folder / "images.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), folder / "images.parquet")


def damage_part(folder: Path) -> None:
    table = pq.read_table(folder / "images.parquet")
    column = pa.array(["test"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("split"), "split", column), folder / "images.parquet")


def damage_count(folder: Path) -> None:
    description = json.loads((folder / "dataset.json").read_text())
    description["counts"]["images"]["train"] = "many"
    (folder / "dataset.json").write_text(json.dumps(description))


def damage_text(folder: Path) -> None:
    table = pq.read_table(folder / "facts.parquet")
    words = pa.array([b"\xff"] * len(table)).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("subject"), "subject", words), folder / "facts.parquet")


def damage_description(folder: Path) -> None:
    description = json.loads((folder / "dataset.json").read_text())
    del description["counts"]
    (folder / "dataset.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "facts.parquet").unlink(), "facts.parquet is missing"),
        (lambda folder: (folder / "facts.parquet").write_bytes(b"PAR1"), "facts.parquet cannot be read"),
        (lambda folder: (folder / "dataset.json").write_text('{"schema": "other/9"}'), "schema 'other/9'"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "not valid JSON"),
        (damage_column, "lacks the column 'order'"),
        (damage_reference, "image_id 'nowhere.png' is not known"),
        (damage_names, "images.parquet has the image_id 'a.png' more than once"),
        (damage_part, "images.parquet has changed since it was prepared: prepare it again"),
        (damage_description, "dataset.json is damaged, it has no 'counts'"),
        (damage_count, "a count in it is no whole number"),
        (lambda folder: (folder / "dataset.json").write_text("[" * 100_000), "dataset.json is not valid JSON"),
        (lambda folder: (folder / "dataset.json").write_text("9" * 5000), "dataset.json is not valid JSON"),
        (damage_text, "facts.parquet cannot be read as Parquet"),
    ],
)
def test_damage_is_told_with_file_and_remedy(tmp_path: Path, damage: object, says: str) -> None:
    out = builder([0, 1, 2, 3]).write(tmp_path / "d")
    assert callable(damage)
    damage(out)
    with pytest.raises(UserError, match=says):
        PreparedDataset.open(out)


def test_items_are_pictures_or_distinct_boxes(tmp_path: Path) -> None:
    dataset = PreparedDataset.open(builder([0, 1, 2, 3]).write(tmp_path / "d"))
    pictures = items_of(dataset, "image")
    assert len(pictures) == 3
    everything = np.arange(3)
    assert pictures.labels(everything, everything).dense().tolist() == [
        [False, True, False],
        [True, False, True],
        [True, False, False],
    ]
    assert pictures.select(("train",), np.array([0])).tolist() == [1]
    boxes = items_of(dataset, "box")
    assert boxes.image.tolist() == [0, 1, 1, 2]
    assert boxes.box[1].tolist() == [0, 0, 5, 8]
    assert boxes.box[2].tolist() == [0, 0, 10, 10]
    assert np.isnan(boxes.box[[0, 3]]).all()
    labels = boxes.labels(np.array([2, 1]), np.array([2, 0]))
    assert labels.dense().tolist() == [[True, False], [False, True]]
    assert labels.rows(np.array([1])).tolist() == [[False, True]]


def test_boxes_by_hand() -> None:
    assert clip_box([-3, 2, 20, 9], 10, 8) == (0, 2, 10, 8)
    assert clip_box([5, 5, 5, 9], 10, 10) is None
    assert clip_box([float("nan"), 0, 1, 1], 10, 10) is None
    assert clip_box([11, 0, 12, 1], 10, 10) is None
    assert enclosing_box((1, 2, 3, 4), (0, 3, 2, 9)) == (0, 2, 3, 9)
    assert enclosing_box(None, (0, 0, 1, 1)) == (0, 0, 1, 1)
    assert enclosing_box(None, None) is None
