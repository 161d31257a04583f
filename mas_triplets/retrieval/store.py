"""The index folder on disk: index.faiss, rows.parquet, index.json, and the facts a picture can be asked for.

index.faiss that plain FAISS reads, an inner-product index over `gallery_rows`; exact.faiss: the same rows in a flat
index, where index.faiss is of another kind; rows.parquet: row -> image, box; index.json: what it is, where it comes
from; facts.parquet: the facts of the run's data set; skipped.jsonl: what could not be read, {image, reason} a line.
Written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import read_json, sha256_of_file
from mas_triplets.retrieval.flat_file import read_flat
from mas_triplets.retrieval.record import SCHEMA, IndexRecord
from mas_triplets.retrieval.scores import numbers_per_row

ROWS: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4)),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("content", pa.binary(32), nullable=False),
    ]
)
"""`image` is an absolute path; `box` [x1, y1, x2, y2] in its pixels, null for the whole picture; `model_version` the
fingerprint of the model that made the row; `content` the SHA-256 of the picture's file."""

FACTS: Final = pa.schema([pa.field(slot, pa.string(), nullable=slot != "subject") for slot in SLOTS])

FILES: Final = ("index.faiss", "exact.faiss", "rows.parquet", "index.json", "facts.parquet", "skipped.jsonl")

_HASHED = 256 * 2**20  # bytes; of larger files the size alone is checked when an index is opened


def is_index(folder: Path) -> bool:
    """Whether a folder is an index that this or another version wrote."""
    try:
        found = read_json(folder / "index.json", "an index")
    except UserError:
        return False
    return isinstance(found, dict) and str(found.get("format", "")).startswith("mas_triplets_index/")


def check_replaceable(out: Path) -> None:
    """Check that an index may be written to `out`: nothing is there, an empty folder, or an index and nothing else.

    Raises:
        UserError: something else would be lost.
    """
    if not out.exists():
        return
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    others = [name for name in names if name not in FILES]
    if not out.is_dir() or (others and not is_index(out)):
        raise UserError(f"{out} exists and is not an index: choose another --out, nothing was written")
    if others:
        raise UserError(
            f"{out} holds more than an index, such as {others[0]}: move that away or choose another --out, nothing was "
            "written"
        )


def read_record(folder: Path) -> IndexRecord:
    """Read index.json.

    Raises:
        UserError: it is absent, or not of this format.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise UserError(f"{folder} is not an index: make one with `mas-triplets index RUN --out {folder}`")
    tree = read_json(path, "the description of an index")
    if isinstance(tree, dict) and tree.get("format") != SCHEMA:
        raise UserError(
            f"{path} has format {tree.get('format')!r}, this version reads '{SCHEMA}': make the index again with "
            f"`mas-triplets index RUN --out {folder}`"
        )
    try:
        return IndexRecord.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(place) for place in first["loc"])
        raise UserError(
            f"{path} is not the description of an index (key '{key}': {first['msg']}): make the index again with "
            f"`mas-triplets index RUN --out {folder}`"
        ) from None


def read_faiss(folder: Path, record: IndexRecord, name: str = "index.faiss") -> Any:
    """Read index.faiss, or exact.faiss, and check that it is what index.json says; what is flat is a memory map.

    Raises:
        UserError: it is absent or damaged, or of another shape; the sentence names the file and the remedy.
    """
    path = folder / name
    _check_there(path, record)
    try:
        index = read_flat(path) if record.kind == "flat" or name == "exact.faiss" else faiss.read_index(str(path))
    except (RuntimeError, MemoryError, ValueError) as error:
        reason = str(error).split("Error: ")[-1].split("\n")[0] or type(error).__name__
        raise UserError(f"{path} is damaged, FAISS cannot read it ({reason}): {record.remedy(folder)}") from None
    expected = numbers_per_row(record.dim, record.score, len(record.parts))
    if index.d != expected or record.numbers_per_row != expected:
        raise UserError(
            f"{path} has {index.d} numbers a row and index.json says {record.numbers_per_row}; {record.score} scores "
            f"with {record.dim} numbers a slot need {expected}: {record.remedy(folder)}"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise UserError(f"{path} does not search by inner product: {record.remedy(folder)}")
    return index


def read_rows(folder: Path, record: IndexRecord) -> pa.Table:
    """Read rows.parquet.

    Raises:
        UserError: it is absent or damaged.
    """
    table = _read_table(folder / "rows.parquet", ROWS, record)
    if not np.array_equal(table["row"].to_numpy(), np.arange(len(table))):
        raise UserError(f"{folder / 'rows.parquet'} is out of order: {record.remedy(folder)}")
    return table.combine_chunks()  # a row is then found at once


def knows_facts(record: IndexRecord) -> bool:
    """Whether an index has the facts of its run's data set."""
    return "facts.parquet" in record.files


def no_facts(folder: Path, record: IndexRecord) -> UserError:
    """Return what to say where the facts are needed and not known."""
    return UserError(
        f"{folder} knows no facts to look for in a picture, since the data set of {record.model.run} could not be "
        f"read when it was made: put that back and {record.remedy(folder)}"
    )


def read_facts(folder: Path, record: IndexRecord) -> tuple[Fact, ...]:
    """Read facts.parquet, the facts of the run's data set.

    Raises:
        UserError: it is absent or damaged.
    """
    table = _read_table(folder / "facts.parquet", FACTS, record)
    return tuple(Fact(*slots) for slots in zip(*(table[slot].to_pylist() for slot in SLOTS), strict=True))


def check_whole(folder: Path, record: IndexRecord, rows: pa.Table, index: Any, *, thorough: bool = False) -> None:
    """Check that the files belong together and are as they were written.

    Args:
        folder: of the index.
        record: its index.json.
        rows: its rows.parquet.
        index: its index.faiss.
        thorough: read files above 256 MiB whole as well, of which otherwise the size is checked.

    Raises:
        UserError: the numbers of rows differ, or a file has changed.
    """
    if not len(rows) == index.ntotal == record.rows:
        raise UserError(
            f"{folder / 'rows.parquet'} has {len(rows):,} rows, {folder / 'index.faiss'} has {index.ntotal:,} and "
            f"index.json says {record.rows:,}: {record.remedy(folder)}"
        )
    for name, expected in record.files.items():
        _check_there(folder / name, record)
        if (thorough or expected.bytes <= _HASHED) and sha256_of_file(folder / name) != expected.sha256:
            raise _damaged(folder / name, record)


def _check_there(path: Path, record: IndexRecord) -> None:
    """Check that a file is there and as long as it was written: FAISS must not map one that is cut short."""
    if not path.is_file():
        raise UserError(f"{path} is missing, the index is not whole: {record.remedy(path.parent)}")
    expected = record.files.get(path.name)
    if expected is not None and path.stat().st_size != expected.bytes:
        raise _damaged(path, record)


def _damaged(path: Path, record: IndexRecord) -> UserError:
    return UserError(f"{path} is damaged, it is not what was written: {record.remedy(path.parent)}")


def _read_table(path: Path, schema: pa.Schema, record: IndexRecord) -> pa.Table:
    _check_there(path, record)
    try:
        return pq.read_table(path).select(schema.names).cast(schema)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is damaged ({reason}): {record.remedy(path.parent)}") from None
