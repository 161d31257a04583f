"""Adding pictures to an index and taking them out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from mas_triplets.errors import UserError
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.build import Filler
from mas_triplets.retrieval.embed import Block, absolute
from mas_triplets.retrieval.flat_file import Floats, blocks_of
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.pictures import pictures_of
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.retrieval.rewriting import changing, rewrite
from mas_triplets.training.run_folder import RunFolder


@dataclass(frozen=True)
class Added:
    """What `add_pictures` did.

    Attributes:
        rows: that were added.
        known: pictures that the index had already, by their content, or that came twice.
        skipped: pictures that could not be read.
    """

    rows: int
    known: int
    skipped: int


def add_pictures(path: Path, images: Path, run: RunFolder | Path | None = None, progress: Silent = SILENT) -> Added:
    """Append to an index those pictures of a folder or data set whose contents it does not have yet.

    They are embedded with the run's newest model; rows of older models stay as they are.

    Args:
        path: the index.
        images: the folder or data set.
        run: the run that filled the index, if it has moved.
        progress: who is told how far it is.

    Raises:
        UserError: it is no index, its run or all the pictures cannot be read, or another process is changing it.
    """
    with changing(path):
        index = FactIndex.open(path, run, as_is=True)
        filler = Filler.of(index.run, progress)
        embedder = filler.embedder(progress)
        pictures = pictures_of(index.run, images)
        contents = index.rows["content"].to_pylist()
        new = _New(len(index), filler.fingerprint)
        blocks = new.first_of_each(embedder.blocks(pictures, frozenset(contents)))
        first = next(blocks, None)
        if first is None:
            if len(embedder.skipped) == pictures.count:
                raise UserError(f"none of the pictures of {images} can be read; the first: {embedder.skipped[0][1]}")
            return Added(0, embedder.passed_over, len(embedder.skipped))

        def about() -> PicturesRecord:
            before = index.record.pictures
            return before.model_copy(
                update={
                    "pictures": before.pictures + pictures.count - embedder.passed_over - new.repeated,
                    "skipped": before.skipped + len(embedder.skipped),
                    "added": tuple(dict.fromkeys([*before.added, absolute(images)])),
                }
            )

        rewrite(
            index,
            filler,
            chain(blocks_of(index.exact), [first], blocks),
            lambda: pa.concat_tables([index.rows, *new.tables]),
            about,
            kept=len(index),
            skipped=embedder.skipped,
            progress=progress,
        )
        return Added(new.rows - len(index), embedder.passed_over + new.repeated, len(embedder.skipped))


def remove_pictures(
    path: Path, images: Path | None = None, run: RunFolder | Path | None = None, progress: Silent = SILENT
) -> int:
    """Take out of an index the rows of a picture, or of all pictures below a folder.

    Args:
        path: the index.
        images: the picture or folder, which may be gone; None takes out every row whose picture is gone.
        run: the run that filled the index, if it has moved.
        progress: who is told how far it is.

    Returns:
        How many rows were taken out.

    Raises:
        UserError: it is no index, none of its rows is of these pictures, all are, or another process is changing it.
    """
    with changing(path):
        index = FactIndex.open(path, run, as_is=True)
        names = index.rows["image"].to_pylist()
        if images is None:
            gone = {name: not Path(name).is_file() for name in dict.fromkeys(names)}
        else:
            place = absolute(images)
            gone = {name: name == place or name.startswith(place.rstrip("/") + "/") for name in dict.fromkeys(names)}
        leaving = np.array([gone[name] for name in names])
        if images is not None and not leaving.any():
            raise UserError(f"no row of {path} is of a picture at {images}: nothing was taken out")
        if leaving.all():
            raise UserError(f"that would leave {path} without a row: nothing was taken out; delete the folder instead")
        if not leaving.any():
            return 0

        def about() -> PicturesRecord:
            left = index.record.pictures.pictures - sum(gone.values())
            return index.record.pictures.model_copy(update={"pictures": left})

        def staying() -> Iterator[Floats]:
            start = 0
            for block in blocks_of(index.exact):
                yield block[~leaving[start : start + len(block)]]
                start += len(block)

        rewrite(
            index, _as_before(index), staying(), lambda: index.rows.filter(pa.array(~leaving)), about, progress=progress
        )
        return int(leaving.sum())


class _New:
    """Collects the part of rows.parquet of what is added, and drops what comes twice."""

    def __init__(self, first: int, model_version: str) -> None:
        self.rows, self._version = first, model_version
        self.tables: list[pa.Table] = []
        self._image: dict[bytes, str] = {}
        self._twice: set[str] = set()

    @property
    def repeated(self) -> int:
        """How many pictures had the content of one before them."""
        return len(self._twice)

    def first_of_each(self, blocks: Iterator[Block]) -> Iterator[Floats]:
        """Yield the vectors of pictures whose content has not come before, and note their rows."""
        for block in blocks:
            owner = [self._image.setdefault(*pair) for pair in zip(block.content, block.image, strict=True)]
            first = np.array([mine == image for mine, image in zip(owner, block.image, strict=True)])
            self._twice |= {image for image, kept in zip(block.image, first.tolist(), strict=True) if not kept}
            if first.any():
                self.tables.append(block.table(self.rows, self._version).filter(pa.array(first)))
                self.rows += int(first.sum())
                yield block.vectors[first]


def _as_before(index: FactIndex) -> Filler:
    """Return the model that made the newest rows, whether or not the run has learnt more since."""
    record = index.record
    known = index.facts if "facts.parquet" in record.files else None
    return Filler(index.run, record.model.after_task, record.model.fingerprint, known, index.space)
