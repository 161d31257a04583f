"""Reading a prepared data set, with its labels as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mas_triplets.data.format import PARTS, SCHEMA, TABLES
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import read_json, sha256_of_file, sha256_of_json

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set in memory: its tables, and its labels as arrays. Pictures stay on disk.

    Attributes:
        folder: where it is.
        description: the contents of dataset.json.
        facts: all facts; the position of one is its fact_id.
        images: the table images.parquet; the position of a picture is its number everywhere else.
        image_part: (I,) position in `PARTS` of each picture's part.
        instance_image: (L,) picture number of each labelled instance.
        instance_fact: (L,) fact_id of each labelled instance.
        instance_box: (L, 4) box of each instance in pixels, NaN where the whole picture is meant.
    """

    folder: Path
    description: dict[str, Any]
    facts: tuple[Fact, ...]
    images: pa.Table
    image_part: IntArray
    instance_image: IntArray
    instance_fact: IntArray
    instance_box: npt.NDArray[np.float32]

    @classmethod
    def open(cls, folder: str | Path) -> PreparedDataset:
        """Read the data set in `folder`.

        Raises:
            UserError: the folder is no prepared data set, a table is absent, lacks a column or was changed, or tables
                do not fit together; the sentence names the file and the remedy.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: make it with `mas-triplets prepare ... --out {folder}`")
        description = read_json(folder / "dataset.json", "the description of a prepared data set")
        if not isinstance(description, dict) or description.get("schema") != SCHEMA:
            found = description.get("schema") if isinstance(description, dict) else None
            raise UserError(
                f"{folder / 'dataset.json'} has schema {found!r}, this version reads '{SCHEMA}': prepare it again"
            )
        _check_description(description, folder / "dataset.json")
        images, facts, instances = (_read_table(folder, name) for name in ("images", "facts", "instances"))
        if not len(instances):
            raise UserError(f"{folder} has no labelled picture: prepare it again from a source that has some")
        _check_distinct(images["image_id"], folder / "images.parquet")
        dataset = cls(
            folder=folder,
            description=description,
            facts=_facts(facts, folder),
            images=images,
            image_part=_codes(images["split"], PARTS, folder / "images.parquet", "split"),
            instance_image=_codes(instances["image_id"], images["image_id"], folder / "instances.parquet", "image_id"),
            instance_fact=_fact_ids(instances, len(facts), folder),
            instance_box=_boxes(instances["box"]),
        )
        for name in TABLES:  # last, since what was said above says more about the damage
            path = folder / f"{name}.parquet"
            if sha256_of_file(path) != description["files"].get(path.name):
                raise UserError(f"{path} has changed since it was prepared: prepare it again")
        return dataset

    @property
    def name(self) -> str:
        """The data set's name."""
        return str(self.description["name"])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the tables: two data sets with the same one hold the same labels and parts."""
        return sha256_of_json(self.description["files"])

    @cached_property
    def paths(self) -> list[Path]:
        """The path of each picture's file, in the order of `images`."""
        return [self.folder / name for name in self.images["file_name"].to_pylist()]

    def check_has_pictures(self) -> None:
        """Raise UserError if the data set has annotations alone: its pictures were not given when it was prepared."""
        first = self.paths[0]
        if first.is_relative_to(self.folder / "images") and not (self.folder / "images").is_dir():
            raise UserError(
                f"{self.folder} was prepared without its pictures: prepare it again with --images FOLDER --overwrite"
            )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The text of all slots of all facts, each once, sorted."""
        return tuple(sorted({slot for fact in self.facts for slot in fact.slots if slot is not None}))

    def fact_counts(self) -> IntArray:
        """(parts, facts) number of pictures labelled with each fact in each part."""
        pairs = np.unique(self.instance_fact * len(self.images) + self.instance_image)
        fact, image = np.divmod(pairs, len(self.images))
        cells = np.bincount(self.image_part[image] * len(self.facts) + fact, minlength=len(PARTS) * len(self.facts))
        return cells.reshape(len(PARTS), len(self.facts))


def _check_description(description: dict[str, Any], path: Path) -> None:
    for key, kind in (("name", str), ("counts", dict), ("rejected", dict), ("files", dict)):
        if not isinstance(description.get(key), kind):
            raise UserError(f"{path} is damaged, it has no '{key}': prepare the data set again")
    for key in ("images", "instances", "facts"):
        if not isinstance(description["counts"].get(key), dict):
            raise UserError(f"{path} is damaged, its counts have no '{key}': prepare the data set again")
    counted = description.get("source_counts", {})
    tables = (
        [t for c in counted.values() if isinstance(c, dict) for t in c.values()] if isinstance(counted, dict) else [0]
    )
    if not all(isinstance(table, dict) and all(type(number) is int for number in table.values()) for table in tables):
        raise UserError(f"{path} is damaged, its 'source_counts' are no counts: prepare the data set again")
    numbers = [*description["rejected"].values(), *(n for c in description["counts"].values() for n in c.values())]
    if not all(type(number) is int for number in numbers):
        raise UserError(f"{path} is damaged, a count in it is no whole number: prepare the data set again")


def _check_distinct(column: pa.ChunkedArray, path: Path) -> None:
    if pc.count_distinct(column).as_py() != len(column):
        counts = pc.value_counts(column).to_pylist()
        twice = next(row["values"] for row in counts if row["counts"] > 1)
        raise UserError(f"{path} has the image_id {twice!r} more than once: prepare the data set again")


def _read_table(folder: Path, name: str) -> pa.Table:
    path, schema = folder / f"{name}.parquet", TABLES[name]
    if not path.is_file():
        raise UserError(f"{path} is missing: the prepared data set is not whole, prepare it again")
    try:
        table = pq.read_table(path)
        table.validate(full=True)  # text that is no UTF-8 would be noticed by chance otherwise
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}; prepare the data set again") from None
    for wanted in schema:
        if wanted.name not in table.column_names and not wanted.nullable:
            raise UserError(f"{path} lacks the column '{wanted.name}': prepare the data set again")
        if wanted.name not in table.column_names:
            table = table.append_column(wanted, pa.nulls(len(table), wanted.type))
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{path} does not have the columns of the format: {error}; prepare it again") from None


def _facts(table: pa.Table, folder: Path) -> tuple[Fact, ...]:
    facts = tuple(Fact(*slots) for slots in zip(*(table[slot].to_pylist() for slot in SLOTS), strict=True))
    for row, (fact_id, fact) in enumerate(zip(table["fact_id"].to_pylist(), facts, strict=True)):
        if fact_id != row or not fact.is_labelled_form:
            raise UserError(f"{folder / 'facts.parquet'} row {row}: fact_id {fact_id} {fact} is out of place or form")
    if len(set(facts)) != len(facts):
        raise UserError(f"{folder / 'facts.parquet'} holds a fact twice: prepare the data set again")
    return facts


def _codes(column: pa.ChunkedArray, values: Any, path: Path, name: str) -> IntArray:
    found = pc.index_in(column, pa.array(values) if isinstance(values, tuple) else values.combine_chunks())
    if found.null_count:
        row = pc.index(pc.is_null(found), True).as_py()
        raise UserError(f"{path} row {row}: {name} {column[row].as_py()!r} is not known; prepare the data set again")
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _fact_ids(instances: pa.Table, count: int, folder: Path) -> IntArray:
    ids = np.asarray(instances["fact_id"].to_numpy(), dtype=np.int64)
    wrong = np.flatnonzero((ids < 0) | (ids >= count))
    if len(wrong):
        raise UserError(
            f"{folder / 'instances.parquet'} row {wrong[0]}: fact_id {ids[wrong[0]]} is not in facts.parquet"
        )
    return ids


def _boxes(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    boxes = np.full((len(column), 4), np.nan, dtype=np.float32)
    present = pc.is_valid(column).to_numpy()
    if present.any():
        flat = pc.list_flatten(column.drop_null()).to_numpy()
        boxes[present] = flat.reshape(-1, 4)
    return boxes
