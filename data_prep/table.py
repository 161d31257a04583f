"""The user's own list: CSV or JSON Lines with image, subject, predicate, object, and a split and boxes if wanted.

Columns may stand in any order and be quoted; others are ignored and named. Boxes are four numbers x1 y1 x2 y2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from data_prep.command import Verifying, run_alone, source_command
from data_prep.pictures import exists
from data_prep.records import About, Label, Picture, Rejected
from data_prep.table_file import KNOWN, records
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import SLOTS, is_unicode

_PART_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


class TableReader:
    """Reads a list of facts. Its pictures lie beside it, unless another folder is given.

    All names of one file are one picture. It is in the part that the first row with a part gives it.

    Args:
        path: the list, or a folder that holds one list alone.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            lists = [file for file in sorted(path.iterdir()) if file.suffix.lower() in (".csv", ".tsv", ".jsonl")]
            if len(lists) != 1:
                raise UserError(f"{path} is a folder: give the list itself, a .csv, .tsv or .jsonl file")
            path = lists[0]
        self._path = path
        self._folder = path.parent.resolve()
        self._first: dict[str, str] = {}
        self._given: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self.files = [path]
        columns: set[str] = set()
        for source, fields in records(path):
            if not isinstance(fields, str):
                columns.update(fields)
                if _is_name(name := fields.get("image")):
                    self._first.setdefault(name, source)
                    if part := _part(fields.get("split")):
                        self._given.setdefault(name, part)
        notes = [f"Prepared from the list {path.name}; its pictures are named by their place in their folder."]
        notes += _ignored(path, columns)
        self.about = About("as the pictures' owner states", "none given", tuple(notes), images=path.parent)

    def take_folder(self, folder: Path) -> None:
        """Take the folder that the names of pictures are relative to."""
        self._folder = folder.resolve()

    def pictures(self) -> Iterator[Picture]:
        """Yield each picture once, whatever names it has."""
        located = {name: _located(self._folder, name.strip()) for name in self._first}
        of_file: dict[Path, str] = {}  # a name inside the folder comes first, whatever the order of the rows
        for image_id, real in sorted(located.values(), key=lambda found: (found[0].startswith("../"), found[0])):
            of_file.setdefault(real, image_id)
        self._ids = {name: of_file[real] for name, (_, real) in located.items()}
        for name, part in self._given.items():
            self._parts.setdefault(self._ids[name], part)
        named: set[str] = set()
        for name, source in self._first.items():
            image_id = self._ids[name]
            if image_id not in named:
                named.add(image_id)
                path = Path(os.path.normpath(self._folder / image_id))
                yield Picture(image_id, name.strip(), self._parts.get(image_id), source, path=path)

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the fact of every row."""
        for source, fields in records(self._path):
            yield Rejected(source, "malformed record", fields) if isinstance(fields, str) else self._row(source, fields)

    def _row(self, source: str, fields: Mapping[str, Any]) -> Label | Rejected:
        image, words = fields.get("image"), [fields.get(slot) for slot in SLOTS]
        if not isinstance(image, str) or not image.strip():
            return Rejected(source, "malformed record", "no picture is named")
        if not is_unicode(image) or not all(word is None or isinstance(word, str) for word in words):
            return Rejected(source, "malformed record", "image, subject, predicate and object must be Unicode text")
        part, image_id = _part(fields.get("split")), self._ids[image]
        if part is None:
            return Rejected(source, "unknown part", f"split is {fields['split']!r:.60}, not one of train, val, test")
        if part and part != self._parts[image_id]:
            detail = f"{image_id} is in {self._parts[image_id]} already, not {part}"
            return Rejected(source, "conflicting part", detail)
        try:
            boxes = [_box(fields.get(f"{slot}_box")) for slot in ("subject", "object")]
        except ValueError as error:
            return Rejected(source, "degenerate box", str(error))
        subject, predicate, thing = (word if word and word.strip() else None for word in words)
        return Label(image_id, (subject or "", predicate, thing), source, boxes[0], boxes[1])


def _part(given: Any) -> str | None:
    """Return the part that is named, the empty text where none is, None where it is none of ours."""
    return "" if given in (None, "") else _PART_NAMES.get(str(given).strip().casefold())


def _is_name(given: Any) -> TypeGuard[str]:
    return isinstance(given, str) and bool(given.strip()) and is_unicode(given)


def _ignored(path: Path, columns: set[str]) -> list[str]:
    """One sentence for each column (or key) that is not known, with the known name it may stand for."""
    notes = []
    for column in sorted(columns - {*KNOWN, ""}):
        close = nearest(column, KNOWN)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        shown = column.encode("utf-8", "backslashreplace").decode()
        notes.append(f"{path.name}: the column '{shown}' is not known and was ignored{hint}")
    return notes


def _located(folder: Path, name: str) -> tuple[str, Path]:
    """Return the name relative to the folder in its shortest form, and the file it leads to, links followed."""
    path = folder / name
    if "\\" in name and not exists(path):  # a list written on Windows
        path = folder / name.replace("\\", "/")
    short = Path(os.path.normpath(path))
    try:
        real = path.resolve()
        if short.resolve() != real or (folder not in short.parents and folder in real.parents):
            short = real
    except (OSError, ValueError, RuntimeError):  # a name too long, a null in it, a loop of links: it is not there
        real = short
    return Path(os.path.relpath(short, folder)).as_posix(), real


def _box(given: Any) -> Box | None:
    if given is None or given == "" or given == []:
        return None
    numbers = re.split(r"[\s,;]+", given.strip().strip("[]()").strip()) if isinstance(given, str) else given
    try:
        values = [float(number) for number in numbers]
        if len(values) != 4:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"box {given!r:.60} is not four numbers x1 y1 x2 y2") from None
    return (values[0], values[1], values[2], values[3])


prepare = source_command(
    TableReader,
    "Your own list of pictures and facts: CSV or JSON Lines (image, subject, predicate, object, split, boxes).",
    holds="The list: .csv, .tsv, .jsonl.",
    validation_share=0.15,
    verifying=Verifying.full,
    with_pictures=True,
)

if __name__ == "__main__":
    run_alone(prepare)
