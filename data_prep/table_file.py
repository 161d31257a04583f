"""Reading a list of the user's: CSV with commas, semicolons or tabs, or JSON Lines, told apart by what is in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS

_REQUIRED = ("image", "subject")
KNOWN = ("image", *SLOTS, "split", "subject_box", "object_box")
"""The columns that mean something."""
Record = tuple[str, Mapping[str, Any] | str]
"""Where a record stands ("facts.csv#12"), and its fields by column; a text instead says why it has none."""


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a list, CSV or JSON Lines, whatever its name.

    Raises:
        UserError: it cannot be read as UTF-8 text, is empty, or lacks a column.
    """
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
        raise UserError(f"{path} is empty: it needs the columns {', '.join(KNOWN[:4])}")
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
            f"{path} line 1: no column {' or '.join(missing)}; the columns are {', '.join(header)[:200]}, "
            f"wanted are {', '.join(KNOWN[:4])} and, if you have them, {', '.join(KNOWN[4:])}"
        )
    repeated = sorted({column for column in header if header.count(column) > 1 and column in KNOWN})
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
