"""Flat FAISS files that are written row by row and read as a memory map: nothing holds all vectors."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_COUNT_AT = 8  # where FAISS's header of a flat index has the number of rows: after 4 letters and the width
_SIZE = struct.calcsize("<Q")
_BLOCK = 16_384


class FlatWriter:
    """Writes an inner-product `IndexFlatIP` to a file as rows come; use it in a `with`.

    FAISS itself would hold all rows. The file is what `faiss.write_index` gives for the same rows, byte for byte: the
    header of an empty index, the number of rows put in at the end, then the numbers.
    """

    def __init__(self, path: Path, width: int) -> None:
        """Open `path` for rows of `width` numbers."""
        self.path, self.width, self.rows = path, width, 0
        self._header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(width)).tobytes())
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the number of rows in and close the file."""
        try:
            if kind is None:
                struct.pack_into("<q", self._header, _COUNT_AT, self.rows)
                struct.pack_into("<Q", self._header, len(self._header) - _SIZE, self.rows * self.width)
                self._file.seek(0)
                self._file.write(self._header)
        finally:
            self._file.close()

    def add(self, rows: Floats) -> None:
        """Append rows (n, width)."""
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        self.rows += len(rows)


def read_flat(path: Path) -> Any:
    """Read a flat index as a memory map.

    Raises:
        RuntimeError: FAISS cannot read it.
    """
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def vectors_of(flat: Any) -> Floats:
    """Return the rows (N, width) of a flat index without a copy, read-only; they keep the index alive."""
    if not flat.ntotal:
        return np.empty((0, flat.d), dtype=np.float32)
    count = flat.ntotal * flat.d
    memory = (ctypes.c_float * count).from_address(faiss.rev_swig_ptr(flat.get_xb(), count).ctypes.data)
    memory.index = flat  # numpy holds `memory`, and that holds the index
    found: Floats = np.frombuffer(memory, dtype=np.float32).reshape(flat.ntotal, flat.d)
    found.setflags(write=False)
    return found


def blocks_of(flat: Any, size: int = _BLOCK) -> Iterator[Floats]:
    """Yield the rows of a flat index in order, (at most size, width) at a time."""
    rows = vectors_of(flat)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def write_flat(path: Path, width: int, blocks: Iterable[Floats]) -> int:
    """Write blocks of rows (n, width) as a flat index and return how many rows there were."""
    with FlatWriter(path, width) as writer:
        for block in blocks:
            writer.add(block)
    return writer.rows
