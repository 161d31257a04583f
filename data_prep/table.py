"""The user's own list: CSV or JSON Lines with image, subject, predicate, object, and a split and boxes if wanted.

Columns may stand in any order and be quoted; others are ignored and named. Boxes are four numbers x1 y1 x2 y2.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import typer

from data_prep.command import AsJson, Name, Out, Overwrite, Seed, print_prepared, run_alone
from mas_triplets.data.boxes import Box, clip_box
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.format import PARTS
from mas_triplets.data.images import check_picture
from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import SLOTS, Fact, is_unicode
from mas_triplets.progress import SILENT, Progress, Silent

_REQUIRED = ("image", "subject")
_KNOWN = ("image", *SLOTS, "split", "subject_box", "object_box")
_PART_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
Record = tuple[str, Mapping[str, Any] | str]
"""Where a record stands ("facts.csv#12"), and its fields by column; a text instead says why it has none."""


def prepare(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The list: .csv, .tsv, .jsonl.")],
    out: Out,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures; the list's own if none.")] = None,
    name: Name = None,
    validation: Annotated[
        float, typer.Option(help="Share of the training pictures kept for validation.", min=0, max=0.9)
    ] = 0.15,
    test: Annotated[
        float,
        typer.Option(help="Share of the pictures kept for test where the list has no split.", min=0, max=0.9),
    ] = 0.2,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Your own list of pictures and facts: CSV or JSON Lines (image, subject, predicate, object, split, boxes)."""
    with Progress() as progress:
        builder = read_table(
            path,
            images,
            name=name or out.name,
            validation=validation,
            test=test,
            seed=seed,
            progress=progress,
        )
        builder.write(out, overwrite=overwrite)
    print_prepared(out, as_json)


def read_table(
    path: Path,
    images: Path | None = None,
    *,
    name: str = "table",
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    progress: Silent = SILENT,
) -> DatasetBuilder:
    """Read a list of facts and check its pictures.

    Pictures stay where they are. Where the list gives no part, `test` of the pictures are drawn for it; where it has
    no validation part, `validation` of the training pictures are.

    Raises:
        UserError: the list cannot be read, or lacks a column, or a share is none.
    """
    for option, share in (("validation", validation), ("test", test)):
        if not 0 <= share <= 0.9:  # NaN is caught too
            raise UserError(f"--{option} is {share}: it must be a share from 0 to 0.9")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the list itself, a .csv, .tsv or .jsonl file")
    records = list(_records(path))
    folder = (images or path.parent).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the pictures' folder with --images")
    builder = DatasetBuilder(
        name,
        about={"licence": "as the pictures' owner states", "citation": "none given"},
        options={"validation": validation, "test": test, "seed": seed},
        notes=[f"Prepared from the list {path.name}; the pictures stay in their own folder."],
    )
    builder.add_source(path)
    fields_of = [fields for _, fields in records if not isinstance(fields, str)]
    for note in _ignored(path, fields_of):
        progress.note(note)
        builder.notes.append(note)
    checked = _check_pictures(folder, fields_of, progress)
    for source, fields in records:
        if isinstance(fields, str):
            builder.reject(source, "malformed record", fields)
        else:
            _add(builder, source, fields, checked)
    builder.carve("test", test, seed, out_of=None)
    builder.assign("train")
    if not builder.has_part("val"):
        builder.carve("val", validation, seed, out_of="train")
    return builder


def _records(path: Path) -> Iterator[Record]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: give a CSV or JSON Lines file with image, subject, predicate, object"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 and try again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not text.strip():
        raise UserError(f"{path} is empty: it needs the columns {', '.join(_KNOWN[:4])}")
    if text.lstrip().startswith("{"):
        return _json_records(path.name, text)
    return _csv_records(path, text)


def _json_records(file: str, text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        source = f"{file}#{number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield source, f"not JSON: {error}"
            continue
        except RecursionError:
            yield source, "JSON nested too deeply"
            continue
        if not isinstance(fields, dict):
            yield source, "not a JSON object"
            continue
        folded = {key.strip().casefold(): value for key, value in fields.items()}
        yield source, folded if len(folded) == len(fields) else "two keys differ in case or spaces only"


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [column.strip().casefold() for column in next(rows)]
    except csv.Error as error:
        raise UserError(f"{path} line 1: the names of the columns cannot be read ({error}): check its quotes") from None
    missing = [column for column in _REQUIRED if column not in header]
    if missing:
        raise UserError(
            f"{path} line 1: no column {' or '.join(missing)}; the columns are {', '.join(header)}, "
            f"wanted are {', '.join(_KNOWN[:4])} and, if you have them, {', '.join(_KNOWN[4:])}"
        )
    repeated = sorted({column for column in header if header.count(column) > 1 and column in _KNOWN})
    if repeated:
        raise UserError(f"{path} line 1: column {', '.join(repeated)} is there twice")
    line = rows.line_num
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            first, line = line + 1, rows.line_num
            lost = f"; an open quote took in what follows, up to line {line}, which is lost" if line > first else ""
            yield f"{path.name}#{first}", f"{error}{lost}"
            continue
        source, line = f"{path.name}#{line + 1}", rows.line_num  # a record may span lines: its first one is named
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            yield source, f"{len(row)} fields, the header has {len(header)}"
        else:
            yield source, dict(zip(header, row, strict=True))


def _ignored(path: Path, records: list[Mapping[str, Any]]) -> list[str]:
    """One sentence for each column (or key) that is not known, with the known name it may stand for."""
    notes = []
    for column in sorted({key for fields in records for key in fields} - {*_KNOWN, ""}):
        close = nearest(column, _KNOWN)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        shown = column.encode("utf-8", "backslashreplace").decode()
        notes.append(f"{path.name}: the column '{shown}' is not known and was ignored{hint}")
    return notes


@dataclass(frozen=True)
class _Picture:
    """What a name in the list stands for: `image_id` is one for all names of the same file; a size, or why none."""

    image_id: str
    path: Path
    size: tuple[int, int] | UserError


def _check_pictures(folder: Path, records: list[Mapping[str, Any]], progress: Silent) -> dict[str, _Picture]:
    """Decode each named picture once, in threads."""
    names = sorted({name for fields in records if _is_name(name := fields.get("image"))})
    located = {name: _located(folder, name.strip()) for name in names}
    ids: dict[Path, str] = {}  # of each file: a name inside the folder comes first, whatever the order of the records
    for image_id, real in sorted(located.values(), key=lambda found: (found[0].startswith("../"), found[0])):
        ids.setdefault(real, image_id)

    def check(path: Path) -> tuple[int, int] | UserError:
        try:
            return check_picture(path)
        except UserError as error:
            return error

    paths = {real: Path(os.path.normpath(folder / image_id)) for real, image_id in ids.items()}
    with ThreadPoolExecutor() as pool:
        found = progress.track(pool.map(check, paths.values()), "checking pictures", len(paths))
        sizes = dict(zip(paths, found, strict=True))
    return {name: _Picture(ids[real], paths[real], sizes[real]) for name, (_, real) in located.items()}


def _is_name(given: Any) -> TypeGuard[str]:
    return isinstance(given, str) and bool(given.strip()) and is_unicode(given)


def _located(folder: Path, name: str) -> tuple[str, Path]:
    """Return the name relative to the folder in its shortest form, and the file it leads to, links followed."""
    path = folder / name
    if "\\" in name and not _exists(path):  # a list written on Windows
        path = folder / name.replace("\\", "/")
    short = Path(os.path.normpath(path))
    try:
        real = path.resolve()
        if short.resolve() != real or (folder not in short.parents and folder in real.parents):
            short = real
    except (OSError, ValueError, RuntimeError):  # a name too long, a null in it, a loop of links: it is not there
        real = short
    return Path(os.path.relpath(short, folder)).as_posix(), real


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _add(
    builder: DatasetBuilder,
    source: str,
    fields: Mapping[str, Any],
    checked: Mapping[str, _Picture],
) -> None:
    image = fields.get("image")
    words = [fields.get(slot) for slot in SLOTS]
    if not isinstance(image, str) or not image.strip():
        builder.reject(source, "malformed record", "no picture is named")
        return
    if any(word is not None and not isinstance(word, str) for word in words):
        builder.reject(source, "malformed record", "subject, predicate and object must be text")
        return
    if not all(is_unicode(text) for text in (image, *words) if text):
        builder.reject(source, "malformed record", "the image or a slot is not valid Unicode text")
        return
    image_id, path, size = checked[image].image_id, checked[image].path, checked[image].size
    if isinstance(size, UserError):
        builder.reject(source, "unreadable image" if _exists(path) else "missing image", str(size))
        return
    if not any(word and word.strip() for word in words):
        builder.reject(source, "empty text", "no slot is filled")
        return
    try:
        fact = Fact(*words)
    except UserError as error:
        builder.reject(source, "empty text", str(error))
        return
    if not fact.is_labelled_form:
        builder.reject(source, "empty text", f"{fact} has a slot left open; a label is <s>, <s, p> or <s, p, o>")
        return
    given = fields.get("split")
    part = _PART_NAMES.get(str(given).strip().casefold()) if given not in (None, "") else None
    if part is None and given not in (None, ""):
        builder.reject(source, "unknown part", f"split is {given!r}, not one of {', '.join(PARTS)}")
        return
    try:
        boxes = [_box(fields.get(f"{slot}_box"), size) for slot in ("subject", "object")]
    except ValueError as error:
        builder.reject(source, "degenerate box", str(error))
        return
    if not builder.has_image(image_id):
        builder.add_image(image_id, str(path), size, part, source_id=image.strip())
    elif part is not None and builder.part_of(image_id) is None:
        builder.set_part(image_id, part)
    elif part is not None and builder.part_of(image_id) != part:
        builder.reject(source, "conflicting part", f"{image_id} is in {builder.part_of(image_id)} already, not {part}")
        return
    builder.add_instance(image_id, fact, source, subject_box=boxes[0], object_box=boxes[1], wording=words)


def _box(given: Any, size: tuple[int, int]) -> Box | None:
    if given is None or given == "" or given == []:
        return None
    numbers = re.split(r"[\s,;]+", given.strip().strip("[]()").strip()) if isinstance(given, str) else given
    try:
        values = [float(number) for number in numbers]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"box {given!r} is not four numbers x1 y1 x2 y2") from None
    box = clip_box(values, *size)
    if box is None:
        raise ValueError(f"box {given!r} has no area inside the picture of {size[0]} x {size[1]} pixels")
    return box


if __name__ == "__main__":
    run_alone(prepare)
