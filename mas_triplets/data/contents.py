"""What is in files, told by a digest of their bytes that is computed once and remembered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mas_triplets.errors import UserError
from mas_triplets.files import read_json, write_json

_ABSENT = "absent"


def content_digests(paths: Sequence[Path], memory: Path) -> list[str]:
    """Return the SHA-256 of each file, "absent" where it cannot be read.

    A digest that is remembered is used while size, time of change and time of the last change of any kind (which no
    program can set) of the file are the same: what is replaced under the same time is read anew, and what is moved or
    touched without being changed keeps its digest.

    Args:
        paths: the files.
        memory: a JSON file where digests are remembered; one that is absent or damaged only costs time.
    """
    remembered = _read(memory)
    marks = [_mark(path) for path in paths]
    names = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - it is asked for every picture
    known = {
        name: remembered[name]
        for name, mark in zip(names, marks, strict=True)
        if mark is not None and name in remembered and remembered[name][:3] == mark
    }
    unknown = [
        number for number, (name, mark) in enumerate(zip(names, marks, strict=True)) if mark and name not in known
    ]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing lets others run
        for number, digest in zip(unknown, pool.map(_digest, (paths[number] for number in unknown)), strict=True):
            known[names[number]] = [*(marks[number] or ()), digest]
    if unknown:
        write_json(memory, remembered | known)
    return [str(known[name][3]) if name in known else _ABSENT for name in names]


def _mark(path: Path) -> list[int | str] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return _ABSENT


def _read(memory: Path) -> dict[str, list[int | str]]:
    if not memory.is_file():
        return {}
    try:
        tree = read_json(memory, "remembered digests of files")
    except UserError:  # nothing is lost but the time to compute them
        return {}
    if not isinstance(tree, dict):
        return {}
    return {name: mark for name, mark in tree.items() if isinstance(mark, list) and len(mark) == 4}
