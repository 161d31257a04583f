"""What an index is filled with: the items of a data set or the pictures of a folder, decoded in a stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mas_triplets.data.images import find_pictures, read_picture
from mas_triplets.data.items import Region, items_of, unlabelled_items
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.view import Pixels, View
from mas_triplets.errors import UserError
from mas_triplets.training.run_folder import RunFolder

_AHEAD = 32  # pictures that are being decoded while the ones before them are encoded


@dataclass(frozen=True)
class Pictures:
    """The pictures to index, and what of each is a row.

    Attributes:
        place: the folder they come from.
        kind: `folder` or `data set`.
        region: whether a row is a picture or a box.
        paths: (I,) the file of each picture.
        image: (N,) picture number of each item; the items of a picture are neighbours.
        box: (N, 4) its box in pixels, NaN for the whole picture.
    """

    place: Path
    kind: Literal["folder", "data set"]
    region: Region
    paths: list[Path]
    image: IntArray
    box: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return int((np.diff(self.image, prepend=-1) != 0).sum())


@dataclass(frozen=True)
class Decoded:
    """One picture after decoding.

    Attributes:
        path: its file.
        size: (width, height) in pixels as stored.
        box: (n, 4) the boxes of its items, NaN for the whole picture.
        pixels: n items, each (size, size, 3); none if the picture could not be read or was passed over.
        content: SHA-256 of the file, 32 bytes; empty if it could not be read.
        problem: why it could not be read, or None.
    """

    path: Path
    size: tuple[int, int]
    box: npt.NDArray[np.float32]
    pixels: list[Pixels]
    content: bytes = b""
    problem: str | None = None


def pictures_of(run: RunFolder, images: Path | None) -> Pictures:
    """Return the pictures of a folder or prepared data set; without one, those of the run's own data set.

    Raises:
        UserError: there is no picture, or the data set cannot be read.
    """
    region = run.config.data.region
    if images is None or (images / "dataset.json").is_file():
        dataset = run.dataset() if images is None else PreparedDataset.open(images)
        items = items_of(dataset, region)
        return Pictures(dataset.folder, "data set", region, dataset.paths, items.image, items.box)
    paths = find_pictures(images)
    items = unlabelled_items(len(paths))
    return Pictures(images, "folder", "image", paths, items.image, items.box)


def content_of(path: Path) -> bytes:
    """Return the SHA-256 of a picture's file, 32 bytes.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: it should be a picture") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def decoded(pictures: Pictures, view: View, passed_over: Collection[bytes] = ()) -> Iterator[Decoded]:
    """Yield the pictures in order, decoded in threads; at most some tens wait at any time.

    One that cannot be read is yielded with its `problem` and without pixels; one with a content that is
    `passed_over`, without pixels.
    """
    starts = np.flatnonzero(np.diff(pictures.image, prepend=-1))
    spans = list(zip(starts.tolist(), [*starts[1:].tolist(), len(pictures.image)], strict=True))

    def decode(start: int, stop: int) -> Decoded:
        path, box = pictures.paths[pictures.image[start]], pictures.box[start:stop]
        try:
            os.path.abspath(path).encode()  # noqa: PTH100 - as it is noted in rows.parquet
            content = content_of(path)
            if content in passed_over:
                return Decoded(path, (0, 0), box, [], content)
            picture = read_picture(path)
            regions = [None if np.isnan(row).any() else tuple(row.tolist()) for row in box]
            return Decoded(path, picture.size, box, [view.draw(picture, region) for region in regions], content)
        except UnicodeEncodeError:
            return Decoded(path, (0, 0), box, [], problem="its name is not valid Unicode")
        except (UserError, ValueError) as error:  # ValueError: a box that goes beyond the picture
            return Decoded(path, (0, 0), box, [], problem=str(error))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead: list[Future[Decoded]] = []
        try:
            for first in range(0, len(spans), _AHEAD):
                before, ahead = ahead, [pool.submit(decode, *span) for span in spans[first : first + _AHEAD]]
                for future in before:
                    yield future.result()
            for future in ahead:
                yield future.result()
        finally:
            for future in ahead:
                future.cancel()
