"""Pictures as arrays: each is decoded once, cut to its boxes, resized, and kept in a memory-mapped file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.contents import content_digests
from mas_triplets.data.decoding import Decoded, Decoder, worker_count
from mas_triplets.data.items import Items
from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.files import read_json, replacing, sha256_of_json, write_json
from mas_triplets.progress import SILENT, Silent


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    Attributes:
        workers: processes that decode; 0: threads of this one.
        max_unreadable: pictures that may be left out because they cannot be read.
    """

    workers: int | None = 0
    max_unreadable: int = 0

    def decode(self, decoder: Decoder, order: npt.NDArray[np.int64]) -> Iterator[Decoded]:
        """Decode items in order."""
        return decoder.decode(order, worker_count(self.workers))

    def check(self, unreadable: dict[int, str]) -> None:
        """Raise UserError if more pictures than allowed cannot be read."""
        if len(unreadable) <= self.max_unreadable:
            return
        first = next(iter(unreadable.values()))
        if self.max_unreadable == 0 or len(unreadable) == 1:
            raise UserError(first)
        raise UserError(
            f"more than {self.max_unreadable} pictures cannot be read (data.max_unreadable); the first: {first}"
        )


@dataclass(frozen=True)
class Kept:
    """Rows of a cache, one an item.

    Attributes:
        rows: a memory map; the row of an item that cannot be read is zero.
        unreadable: picture number -> why it cannot be read.
    """

    rows: npt.NDArray[Any]
    unreadable: dict[int, str]


def items_key(cache: Path, paths: Sequence[Path], items: Items, view: View) -> list[object]:
    """Return what names the pixels of all items: the contents of the pictures, which items, how they are drawn.

    Args:
        cache: folder where digests of the pictures are remembered.
        paths: the file of each picture.
        items: the items.
        view: how they are drawn.
    """
    used, place = np.unique(items.image, return_inverse=True)
    digests = content_digests([paths[number] for number in used], cache / "contents.json")
    return [digests, place.tolist(), items.box.tobytes().hex(), view.key]


def kept_rows(
    path: Path,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    blocks: Callable[[], Iterable[tuple[npt.NDArray[Any] | None, Sequence[Decoded]]]],
    reading: Reading,
) -> Kept:
    """Open the array `path` by memory map; if it is not there, make it from blocks of rows and keep it.

    Args:
        path: the array's file; which pictures cannot be read stands beside it, as JSON.
        shape: of the array, one row an item.
        dtype: of the array.
        blocks: gives (rows of the items that could be read, what was decoded) in order.
        reading: how many pictures may be left out.

    Raises:
        UserError: more pictures than that cannot be read; nothing is kept then.
    """
    listed = path.with_suffix(".unreadable.json")
    if not _is_whole(path, listed, shape, dtype):
        unreadable: dict[int, str] = {}
        _clear_remains(path)
        with replacing(path) as temporary:
            with temporary.open("wb") as handle:
                np.lib.format.write_array_header_2_0(
                    handle,
                    {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape},
                )
                size = handle.tell() + math.prod(shape) * np.dtype(dtype).itemsize
                _allocate(handle.fileno(), size, path)
            array = np.load(temporary, mmap_mode="r+")
            start = 0
            for rows, found in blocks():
                taken = 0
                for one in found:
                    if one.problem is None:
                        assert rows is not None
                        array[start : start + one.count] = rows[taken : taken + one.count]
                        taken += one.count
                    else:
                        unreadable[one.image] = one.problem
                        reading.check(unreadable)
                    start += one.count
            array.flush()
            del array
            write_json(listed, {str(image): problem for image, problem in unreadable.items()})
    found_problems: dict[str, str] = read_json(listed, "a list of pictures that cannot be read")
    unreadable = {int(image): problem for image, problem in found_problems.items()}
    reading.check(unreadable)
    return Kept(np.asarray(np.load(path, mmap_mode="r")), unreadable)


def _is_whole(path: Path, listed: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> bool:
    """Whether a cache is there and can be used; one that is damaged is made anew."""
    if not path.is_file() or not listed.is_file():
        return False
    try:
        array = np.load(path, mmap_mode="r")
        read_json(listed, "a list of pictures that cannot be read")
    except (ValueError, OSError, EOFError, UserError):
        return False
    return bool(array.shape == shape and array.dtype == np.dtype(dtype))


def _allocate(file: int, size: int, path: Path) -> None:
    """Give a file its size and its place on the disk: without room it fails now, not as what is mapped is written."""
    try:
        os.truncate(file, size)
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} for {size / 1e6:,.1f} MB", str(path)) from None


def _clear_remains(path: Path) -> None:
    """Remove what processes that were killed while they made this cache left half-written."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        number = partial.name.removesuffix(".partial").rpartition(".")[2]
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, ValueError):
            partial.unlink(missing_ok=True)
        except PermissionError:  # it lives, and is somebody else's
            continue


def cached_pixels(
    cache: Path,
    paths: Sequence[Path],
    items: Items,
    view: View,
    reading: Reading | None = None,
    progress: Silent = SILENT,
) -> Kept:
    """Return the (N, size, size, 3) pixels of all items, decoding what the cache does not hold."""
    reading = reading or Reading()
    key = sha256_of_json(items_key(cache, paths, items, view))
    decoder = Decoder(paths, items, view)

    def blocks() -> Iterator[tuple[npt.NDArray[Any] | None, Sequence[Decoded]]]:
        found = reading.decode(decoder, np.arange(len(items)))
        for one in counted(found, "decoding pictures", len(items), progress):
            yield one.pixels, [one]

    name = f"pixels-{view.size}-{key[:16]}.npy"
    return kept_rows(cache / name, (len(items), view.size, view.size, 3), np.uint8, blocks, reading)


def counted(found: Iterable[Decoded], what: str, items: int, progress: Silent) -> Iterator[Decoded]:
    """Yield what is decoded and show how many items are done."""
    bar = progress.track(range(items), what, items)
    for one in found:
        for _ in range(one.count):
            next(bar)
        yield one
    next(bar, None)  # so that it ends, and says how long it took
