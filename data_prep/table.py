"""The user's own list: CSV or JSON Lines with image, subject, predicate, object, and a split and boxes if wanted.

Columns may stand in any order and be quoted; others are ignored and named. Boxes are four numbers x1 y1 x2 y2.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.command import Name, Out, Overwrite, Seed, print_prepared, run_alone
from mas_triplets.data.boxes import Box, clip_box
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.format import PARTS
from mas_triplets.data.images import check_picture
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
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
    print_prepared(out)


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
        UserError: the list cannot be read, or lacks a column.
    """
    folder = (images or path.parent).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the pictures' folder with --images")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the list itself, a .csv, .tsv or .jsonl file")
    records = list(_records(path))
    builder = DatasetBuilder(
        name,
        about={"licence": "as the pictures' owner states", "citation": "none given"},
        options={"validation": validation, "test": test, "seed": seed},
        notes=[f"Prepared from the list {path.name}; the pictures stay in their own folder."],
    )
    builder.add_source(path)
    checked = _check_pictures(folder, [fields for _, fields in records if not isinstance(fields, str)], progress)
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
        yield source, fields if isinstance(fields, dict) else "not a JSON object"


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    header = [column.strip().casefold() for column in next(rows)]
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
            yield f"{path.name}#{rows.line_num}", str(error)
            continue
        source, line = (
            f"{path.name}#{line + 1}",
            rows.line_num,
        )  # a record may span lines: its first one is named
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            yield source, f"{len(row)} fields, the header has {len(header)}"
        else:
            yield source, dict(zip(header, row, strict=True))


def _check_pictures(
    folder: Path, records: list[Mapping[str, Any]], progress: Silent
) -> dict[str, tuple[Path, tuple[int, int] | UserError]]:
    """Decode each named picture once, in threads; a size in pixels, or why there is none, for each name."""
    names = sorted({name for fields in records if isinstance(name := fields.get("image"), str) and name.strip()})
    paths = {name: _located(folder, name.strip()) for name in names}

    def check(path: Path) -> tuple[int, int] | UserError:
        try:
            return check_picture(path)
        except UserError as error:
            return error

    distinct = sorted(set(paths.values()))
    with ThreadPoolExecutor() as pool:
        found = progress.track(pool.map(check, distinct), "checking pictures", len(distinct))
        sizes = dict(zip(distinct, found, strict=True))
    return {name: (path, sizes[path]) for name, path in paths.items()}


def _located(folder: Path, name: str) -> Path:
    path = folder / name
    if "\\" in name and not path.exists():  # a list written on Windows
        path = folder / name.replace("\\", "/")
    return path


def _add(
    builder: DatasetBuilder,
    source: str,
    fields: Mapping[str, Any],
    checked: Mapping[str, tuple[Path, tuple[int, int] | UserError]],
) -> None:
    image = fields.get("image")
    words = [fields.get(slot) for slot in SLOTS]
    if not isinstance(image, str) or not image.strip():
        builder.reject(source, "malformed record", "no picture is named")
        return
    if any(word is not None and not isinstance(word, str) for word in words):
        builder.reject(source, "malformed record", "subject, predicate and object must be text")
        return
    path, size = checked[image]
    if isinstance(size, UserError):
        builder.reject(source, "unreadable image" if path.exists() else "missing image", str(size))
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
    image_id = image.strip().replace("\\", "/")
    if not builder.has_image(image_id):
        builder.add_image(image_id, str(path), size, part, source_id=image.strip())
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
    except (TypeError, ValueError):
        raise ValueError(f"box {given!r} is not four numbers x1 y1 x2 y2") from None
    box = clip_box(values, *size)
    if box is None:
        raise ValueError(f"box {given!r} has no area inside the picture of {size[0]} x {size[1]} pixels")
    return box


if __name__ == "__main__":
    run_alone(prepare)
