"""A file by memory map, read from front to back without its pages piling up in memory."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mas_triplets.errors import UserError
from mas_triplets.model.texts.encoder import Vectors

_PIECE = 32 << 20
_ROWS = 16  # scattered rows, each of which may bring 2 MiB around it into memory


class Mapped:
    """A binary file of word vectors, read at a position.

    Attributes:
        path: the file.
        size: its bytes.
        position: where the next thing is read.
    """

    def __init__(self, path: Path, pages: mmap.mmap) -> None:
        self.path, self.size, self.position = path, len(pages), 0
        self._pages, self._released, self._touched = pages, 0, 0

    def cut_short(self, where: str) -> UserError:
        """Build the error for a file that ends too early."""
        return UserError(f"{self.path} ends within {where}: the file is damaged or cut short, fetch it anew")

    def take(self, form: str, where: str) -> tuple[Any, ...]:
        """Read numbers as `struct` does and go on behind them.

        Raises:
            UserError: the file ends before.
        """
        if self.position + struct.calcsize(form) > self.size:
            raise self.cut_short(where)
        values = struct.unpack_from(form, self._pages, self.position)
        self.position += struct.calcsize(form)
        return values

    def until(self, end: bytes, longest: int, where: str) -> bytes:
        """Return what comes before `end`, and go on behind it.

        Raises:
            UserError: there is no `end` within `longest` bytes.
        """
        found = self._pages.find(end, self.position, self.position + longest)
        if found < 0:
            if self.position + longest >= self.size:
                raise self.cut_short(where)
            raise UserError(f"{self.path} {where}: no word ends within {longest} bytes, the file is damaged")
        text = self._pages[self.position : found]
        self.position = found + len(end)
        self._release()
        return text

    def floats(self, position: int, count: int) -> Vectors:
        """Return `count` numbers that begin at `position`, which the caller has checked."""
        numbers = np.frombuffer(self._pages, "<f4", count, position).astype(np.float32)
        self._touched += 1
        if self._touched % _ROWS == 0:
            self._give_back(0, self.size)
        return numbers

    def _release(self) -> None:
        """Give pages that have been passed back to the system."""
        if self.position - self._released > _PIECE:
            end = self.position // mmap.PAGESIZE * mmap.PAGESIZE
            self._give_back(self._released, end - self._released)
            self._released = end

    def _give_back(self, start: int, length: int) -> None:
        """Pages of a map count as this process's memory until they are given back; another look reads them again."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._pages.madvise(mmap.MADV_DONTNEED, start, length)


@contextmanager
def mapped(path: Path) -> Iterator[Mapped]:
    """Open a file by memory map.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            yield Mapped(path, pages)
    except OSError as error:
        raise UserError(f"{path} cannot be read as word vectors: {error.strerror}") from None
