"""One list of all labels, CSV or JSON Lines: what `mas-triplets prepare table` reads back to the same data set.

Columns: image, subject, predicate, object, split, subject_box, object_box; a box is x1 y1 x2 y2. Slots are written in
the normalised form; the original wordings are a fact's, not a label's, and stay behind.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mas_triplets.data.export.columns import BATCH, BOXES, Pictures, box_columns, box_text, pictures_of, slot_columns
from mas_triplets.data.export.place import Exported, new_file
from mas_triplets.data.format import PARTS
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS
from mas_triplets.progress import SILENT, Silent

COLUMNS = ("image", *SLOTS, "split", *BOXES)
_BEGINS = {
    ".csv": re.compile(",".join(COLUMNS).encode() + b"\n"),
    ".jsonl": re.compile(rb'\{"image": "[^\n]*", "subject": "[^\n]*"split": "(train|val|test)"'),
}
"""How a list begins that was exported: another file is not replaced."""


def export_table(
    dataset: PreparedDataset, out: Path, *, overwrite: bool = False, progress: Silent = SILENT
) -> Exported:
    """Write all labels as one list.

    Args:
        dataset: the data set.
        out: a file that ends in .csv or .jsonl.
        overwrite: whether another file is replaced.
        progress: who is told how far it is.

    Raises:
        UserError: `out` ends otherwise or is there with other contents, or CSV cannot hold the name of a picture.
    """
    kind = out.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise UserError(f"--out {out} must end in .csv or .jsonl: its ending says which of the two is written")
    if kind == ".csv" and pc.any(pc.match_substring(dataset.images["file_name"], "\r")).as_py():
        raise UserError(f"a picture of {dataset.folder} has a carriage return in its name: write .jsonl, not .csv")
    write = _write_csv if kind == ".csv" else _write_json_lines
    with new_file(out, _BEGINS[kind], overwrite=overwrite) as temporary:
        write(temporary, _batches(dataset, progress))
    count = len(dataset.instance_fact)
    rows = [{"file": out.name, "labels": count, "images": len(dataset.images), "facts": len(dataset.facts)}]
    pictures = pictures_of(dataset)
    notes = []
    if not pictures.there:
        notes.append(f"{dataset.folder} was prepared without its pictures; `prepare table` wants them: put them there.")
    return Exported(out, "table", rows, notes, _read_back(dataset, pictures, out))


def _batches(dataset: PreparedDataset, progress: Silent) -> Iterator[list[pa.Array]]:
    """Yield the columns of `BATCH` labels at a time."""
    names = pa.concat_arrays(dataset.images["file_name"].chunks)
    parts, slots, boxes = pa.array(PARTS), slot_columns(dataset), box_columns(dataset)
    count = len(dataset.instance_fact)
    for start in progress.track(range(0, count, BATCH), "writing batches of labels", -(-count // BATCH)):
        images = dataset.instance_image[start : start + BATCH]
        facts = pa.array(dataset.instance_fact[start : start + BATCH])
        yield [
            names.take(pa.array(images)),
            *(slot.take(facts) for slot in slots),
            parts.take(pa.array(dataset.image_part[images])),
            *(box_text(box.slice(start, BATCH)) for box in boxes),
        ]


def _write_csv(path: Path, batches: Iterator[list[pa.Array]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for columns in batches:
            writer.writerows(zip(*(column.to_pylist() for column in columns), strict=True))


def _write_json_lines(path: Path, batches: Iterator[list[pa.Array]]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for columns in batches:
            for row in zip(*(column.to_pylist() for column in columns), strict=True):
                record: dict[str, Any] = {key: value for key, value in zip(COLUMNS, row, strict=True) if value}
                for key in BOXES:
                    if key in record:
                        record[key] = [float(number) for number in record[key].split()]
                handle.write(encode(record) + "\n")


def _read_back(dataset: PreparedDataset, pictures: Pictures, out: Path) -> str:
    inside = not all(Path(name).is_absolute() for name in dataset.images["file_name"].to_pylist())
    images = dataset.folder if inside else pictures.folder
    command = ["mas-triplets", "prepare", "table", str(out), "--images", str(images)]
    command += ["--verify-images", "header"]  # `full` would find pictures of equal bytes in two parts
    if PARTS.index("val") not in dataset.image_part:  # else it would draw a validation part anew
        command += ["--validation", "0"]
    return shlex.join([*command, "--out", f"{dataset.folder}-again"])
