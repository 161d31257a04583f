"""The tables of an HDF5 file, read in a process of its own: a damaged file can crash the HDF5 library or hold it up."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_prep.places import check_readable
from mas_triplets.errors import UserError

_NOT_READ = 3
_SECONDS = 600  # the largest file read so, VG150's, takes a few
_MOST_NUMBERS = 1 << 25  # of a table; the largest one of VG150 has some 11 million
_LARGEST = 1 << 53  # below it a float64 holds every whole number


class Tables:
    """Tables of numbers at the top of an HDF5 file.

    Args:
        path: the file.
        names: of those that are read, as far as they are there.
        what: what the file should be.

    Raises:
        UserError: the file is absent, is no HDF5 file or is damaged, or a table is too large or does not hold finite
            numbers.
    """

    def __init__(self, path: Path, names: Sequence[str], what: str) -> None:
        self._path, self._remedy = path, f"it should be {what}"
        self._tables = _read(path, names, self._remedy)
        for name, table in self._tables.items():
            if not ((table > -_LARGEST) & (table < _LARGEST)).all():  # NaN is found too
                raise self._error(f"the table {name} has NaN or a number beyond all bounds")

    def __contains__(self, name: str) -> bool:
        return name in self._tables

    def numbers(self, name: str, columns: int | None) -> NDArray[Any]:
        """Return the table, of that many columns; None for any number of them.

        Raises:
            UserError: it is absent or has another shape.
        """
        if name not in self._tables:
            raise self._error(f"there is no table {name}")
        table = self._tables[name]
        if columns == 1 and table.ndim == 1:
            table = table[:, None]
        if table.ndim != 2 or columns not in (None, table.shape[1]):
            raise self._error(f"the table {name} is {' x '.join(map(str, table.shape))}, not n x {columns or 'm'}")
        return table

    def whole(self, name: str, columns: int | None) -> NDArray[np.int64]:
        """Return the table as whole numbers, which some keep as floating point.

        Raises:
            UserError: as for `numbers`, or a number is not whole.
        """
        table = self.numbers(name, columns)
        whole = table.astype(np.int64)
        if (whole != table).any():
            raise self._error(f"the table {name} has numbers that are not whole")
        return whole

    def check_rows(self, *names: str) -> None:
        """Make sure that those of the tables that are there have as many rows as each other.

        Raises:
            UserError: they have not.
        """
        rows = {name: len(self._tables[name]) for name in names if name in self}
        if len(set(rows.values())) > 1:
            told = ", ".join(f"{name} {number:,}" for name, number in rows.items())
            raise self._error(f"tables have different numbers of rows ({told})")

    def _error(self, problem: str) -> UserError:
        return UserError(f"{self._path}: {problem}; {self._remedy}")


def consecutive(
    first: NDArray[np.int64], last: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return which of `total` rows each owner has, where they follow each other as their owners do.

    Args:
        first: the first row of each owner, -1 where it has none, (n,).
        last: its last row, likewise.
        total: number of rows.

    Returns:
        The first row and the one after the last, 0 and 0 for none, (n, 2); and which owners' rows are not there or go
        back, which would give one row to two owners, (n,). These owners have none.
    """
    inside = (first >= 0) & (first <= last) & (last < total)
    highest = np.maximum.accumulate(np.where(inside, last, -1))
    usable = inside & (first > np.append(-1, highest)[: len(first)])
    rows = np.where(usable[:, None], np.stack([first, last + 1], axis=1), 0)
    return rows, ~usable & ~((first == -1) & (last == -1))


def unheld(rows: NDArray[np.int64], total: int) -> list[int]:
    """Return the rows below `total` that no owner has; `rows` is as `consecutive` returns it."""
    change = np.zeros(total + 1, dtype=np.int64)
    np.add.at(change, rows[:, 0], 1)
    np.add.at(change, rows[:, 1], -1)
    found: list[int] = np.flatnonzero(np.cumsum(change)[:total] == 0).tolist()
    return found


def _read(path: Path, names: Sequence[str], remedy: str) -> dict[str, NDArray[Any]]:
    """Return the tables that are there, with int64 or, where they have floating point, float64."""
    check_readable(path, remedy)
    command = [sys.executable, "-P", "-m", "data_prep.h5_files", str(path.absolute()), *names]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} is not read after {_SECONDS} seconds: it is damaged, get it anew") from None
    if done.returncode == _NOT_READ:
        raise UserError(f"{path} {done.stderr.decode(errors='replace').strip()}: {remedy}")
    if done.returncode != 0:
        raise UserError(f"{path} cannot be read as an HDF5 file: it is damaged, get it anew")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _main(path: str, *names: str) -> int:
    """Write the tables to standard output as a NumPy archive; or say on standard error why not."""
    try:
        # nothing writes to the file, and some network disks refuse the lock
        with h5py.File(path, "r", locking=False) as file:
            tables = {name: _plain(file[name], name) for name in names if name in file}
    except Exception as error:  # a damaged file may raise anything in h5py; what it was is told
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        print(f"cannot be read as an HDF5 file ({' '.join(told.split())[:120]})", file=sys.stderr)
        return _NOT_READ
    np.savez(sys.stdout.buffer, **tables)  # type: ignore[arg-type]  # NumPy types the other keywords alike
    return 0


def _plain(found: Any, name: str) -> NDArray[Any]:
    """Return the numbers of a table; one of absurd size is refused before it is read.

    Raises:
        UserError: it is no table of numbers in one or two dimensions, or too large.
    """
    if not isinstance(found, h5py.Dataset) or found.shape is None or len(found.shape) not in (1, 2):
        raise UserError(f"{name} is no table of one or two dimensions")
    if found.dtype.kind not in "iuf":
        raise UserError(f"the table {name} holds {found.dtype}, not numbers")
    if found.size > _MOST_NUMBERS:
        raise UserError(f"the table {name} has {found.size:,} numbers")
    return np.asarray(found[()]).astype(np.float64 if found.dtype.kind == "f" else np.int64)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
