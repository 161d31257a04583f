"""Where an export is put: whole or not at all, and over nothing that it did not write itself."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.files import put_in_place, read_json, replacing, scratch_folder, write_json

_OURS = re.compile(r"(train|val|test)\.json|B\d+_(train|val|test|facts)\.csv")  # a mark may name what it likes
MARK = "export.json"
"""Says in a folder which data set it was exported from, and names the files that belong to it."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file or folder.
        form: its form, one of `FORMATS`.
        rows: how much of what it holds, as rows of a table.
        notes: sentences for the person who exports: what the form has no place for, where the pictures are.
        read_back: the command that makes a data set of it, if there is one.
    """

    path: Path
    form: str
    rows: list[dict[str, Any]]
    notes: list[str]
    read_back: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, what --json prints."""
        return {
            "path": str(self.path),
            "format": self.form,
            "rows": self.rows,
            "notes": self.notes,
            "read_back": self.read_back,
        }


@contextmanager
def new_file(path: Path, begins: re.Pattern[bytes], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path; what is written there becomes `path` at the end.

    Args:
        path: the file.
        begins: how another export begins.
        overwrite: whether another export is replaced.

    Raises:
        UserError: `path` is a folder, holds what no export wrote, or another export and `overwrite` is false.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give --out the name of a file")
    if path.exists():
        with path.open("rb") as handle:
            if not begins.match(handle.read(1 << 16)):
                raise UserError(f"{path} is there and no export wrote it: choose another --out, nothing was written")
    with replacing(path.resolve() if path.is_symlink() else path) as temporary:
        yield temporary
        if path.exists() and not overwrite and not filecmp.cmp(temporary, path, shallow=False):
            raise UserError(f"{path} exists and holds something else: choose another --out, or pass --overwrite")


@contextmanager
def new_folder(path: Path, about: Mapping[str, Any], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder; the files written there become `path` at the end, with `about` in `MARK` beside them.

    Raises:
        UserError: `path` holds what no export wrote, which even `overwrite` does not remove; or another export, and
            `overwrite` is false.
    """
    _check_is_export(path)
    with scratch_folder(path) as folder:
        yield folder
        names = sorted(file.name for file in folder.iterdir())
        write_json(folder / MARK, {**about, "files": names})
        names.append(MARK)
        if path.exists() and any(path.iterdir()):
            if filecmp.cmpfiles(path, folder, names, shallow=False)[0] == names:
                return
            if not overwrite:
                raise UserError(f"{path} holds another export: choose another --out, or pass --overwrite")
        put_in_place(folder, path)


def _check_is_export(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file: give --out the name of a folder")
    there = {file.name for file in path.iterdir()}
    mark = read_json(path / MARK, "the mark of an export") if MARK in there else {}
    named = mark.get("files") if isinstance(mark, dict) else None
    known = (
        {name for name in named if isinstance(name, str) and _OURS.fullmatch(name)} if isinstance(named, list) else ()
    )
    strange = sorted(there - {MARK, *known})
    if strange:
        raise UserError(f"{path} holds {strange[0]}, which no export wrote: choose another --out, nothing was written")
