"""Pictures as arrays: each is decoded once, cut to its boxes, resized, and kept in a memory-mapped file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mas_triplets.data.boxes import Box
from mas_triplets.data.images import read_picture
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.files import replacing, sha256_of_json
from mas_triplets.progress import SILENT, Silent

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")


def square(picture: Image.Image, box: Box | None, size: int) -> Pixels:
    """Return (size, size, 3) pixels of the picture, or of `box` in it, drawn to a square with anti-aliasing.

    The whole region is seen and its aspect is not kept: a fact at the border of a picture must not be cut away.
    """
    if box is None and picture.size == (size, size):
        return np.asarray(picture)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def decoded_items(paths: Sequence[Path], image: IntArray, box: npt.NDArray[np.float32], size: int) -> Iterator[Pixels]:
    """Yield the (size, size, 3) pixels of each item in order; equal neighbours in `image` share one decoding.

    Args:
        paths: the file of each picture.
        image: (N,) picture number of each item.
        box: (N, 4) its box in pixels, NaN for the whole picture.
        size: side in pixels.

    Raises:
        UserError: a picture is absent or cannot be decoded; the sentence names it.
    """
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    stops = np.append(starts[1:], len(image))

    def decode(run: tuple[int, int]) -> list[Pixels]:
        picture = read_picture(paths[image[run[0]]])
        boxes: list[Box | None] = [None if np.isnan(row).any() else tuple(row.tolist()) for row in box[slice(*run)]]
        return [square(picture, found, size) for found in boxes]

    for pixels in _bounded_map(decode, zip(starts.tolist(), stops.tolist(), strict=True)):
        yield from pixels


def _bounded_map(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map in threads (Pillow lets others run while it decodes), in order, with a bounded number of results waiting."""
    workers = min(8, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 16 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def files_fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 over names, sizes and times of files: it changes when a picture is replaced.

    Raises:
        UserError: a file is absent.
    """
    try:
        found = [(str(path), status.st_size, status.st_mtime_ns) for path in paths for status in (path.stat(),)]
    except OSError as error:
        raise UserError(
            f"the picture {error.filename} cannot be read: {error.strerror}; prepare the data set again"
        ) from None
    return sha256_of_json(found)


def cached_array(
    path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, fill: Callable[[npt.NDArray[Any]], None]
) -> npt.NDArray[Any]:
    """Open the array file `path` by memory map; if it is not there, `fill` an array of that shape and keep it."""
    if not path.is_file():
        with replacing(path) as temporary:
            with temporary.open("wb") as handle:
                np.lib.format.write_array_header_2_0(
                    handle,
                    {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape},
                )
                handle.truncate(handle.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)
            array = np.load(temporary, mmap_mode="r+")
            fill(array)
            array.flush()
            del array
    return np.asarray(np.load(path, mmap_mode="r"))


def cached_pixels(
    cache: Path,
    paths: Sequence[Path],
    image: IntArray,
    box: npt.NDArray[np.float32],
    size: int,
    progress: Silent = SILENT,
) -> Pixels:
    """Return the (N, size, size, 3) pixels of all items as a memory map, decoding what the cache does not hold."""
    key = sha256_of_json(
        [files_fingerprint([paths[number] for number in np.unique(image)]), image.tolist(), box.tobytes().hex(), size]
    )

    def fill(array: npt.NDArray[Any]) -> None:
        pictures = decoded_items(paths, image, box, size)
        for row, pixels in enumerate(progress.track(pictures, "decoding pictures", len(image))):
            array[row] = pixels

    return cached_array(cache / f"pixels-{size}-{key[:16]}.npy", (len(image), size, size, 3), np.uint8, fill)
