"""Adding pictures to an index and taking them out of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.build import Filler
from mas_triplets.retrieval.embed import Block, absolute
from mas_triplets.retrieval.flat_file import Floats, blocks_of
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.pictures import Pictures, content_of, pictures_of
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.retrieval.rewriting import changing, rewrite
from mas_triplets.training.run_folder import RunFolder

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Added:
    """What `add_pictures` did.

    Attributes:
        rows: that were added.
        known: pictures that the index had already, by their content, or that came twice.
        skipped: pictures that could not be read.
        replaced: rows that were taken out, since their files now hold other pictures.
    """

    rows: int
    known: int
    skipped: int
    replaced: int


def add_pictures(path: Path, images: Path, run: RunFolder | Path | None = None, progress: Silent = SILENT) -> Added:
    """Append to an index those pictures of a folder or data set whose contents it does not have yet.

    They are embedded with the run's newest model; rows of older models stay as they are. Rows of a file that holds
    another picture by now are taken out.

    Args:
        path: the index.
        images: the folder or data set.
        run: the run that filled the index, if it has moved.
        progress: who is told how far it is.

    Raises:
        UserError: it is no index, its run or all the pictures cannot be read, or another process is changing it.
    """
    with changing(path) as place:
        index = FactIndex.open(place, run, as_is=True)
        filler = Filler.of(index.run, progress)
        _check_one_space(index, filler)
        embedder = filler.embedder(progress)
        pictures = pictures_of(index.run, images)
        staying = ~_changed(index, pictures)
        kept = int(staying.sum())
        new = _New(kept, filler.fingerprint)
        known = frozenset(index.rows["content"].filter(pa.array(staying)).to_pylist())
        blocks = new.first_of_each(embedder.blocks(pictures, known))
        first = next(blocks, None)
        if first is None and kept == len(index):
            if len(embedder.skipped) == pictures.count:
                raise UserError(f"none of the pictures of {images} can be read; the first: {embedder.skipped[0][1]}")
            return Added(0, embedder.passed_over, len(embedder.skipped), 0)
        if first is None and not kept:
            raise UserError(
                f"no row of {path} would be left, and {images} has no picture that can be read: nothing was changed"
            )

        def about() -> PicturesRecord:
            before = index.record.pictures
            gone = set(index.rows["image"].filter(pa.array(~staying)).to_pylist())
            came = pictures.count - embedder.passed_over - new.repeated
            return before.model_copy(
                update={
                    "pictures": before.pictures - len(gone) + came,
                    "skipped": before.skipped + len(embedder.skipped),
                    "added": tuple(dict.fromkeys([*before.added, absolute(images)])),
                }
            )

        rewrite(
            index,
            filler,
            chain(_rows_of(index, staying), [] if first is None else [first], blocks),
            lambda: pa.concat_tables([index.rows.filter(pa.array(staying)), *new.tables]),
            about,
            kept=kept if kept == len(index) else None,
            skipped=embedder.skipped,
            progress=progress,
        )
        known_now = embedder.passed_over + new.repeated
        return Added(new.rows - kept, known_now, len(embedder.skipped), len(index) - kept)


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
    with changing(path) as place:
        index = FactIndex.open(place, run, as_is=True)
        names = index.rows["image"].to_pylist()
        if images is None:
            gone = {name: not Path(name).is_file() for name in dict.fromkeys(names)}
        else:
            wanted = {Path(absolute(images)), images.resolve()}
            gone = {name: _is_in(Path(name), wanted) for name in dict.fromkeys(names)}
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

        rewrite(
            index,
            _as_before(index),
            _rows_of(index, ~leaving),
            lambda: index.rows.filter(pa.array(~leaving)),
            about,
            progress=progress,
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


def _rows_of(index: FactIndex, staying: Bools) -> Iterator[Floats]:
    """Yield in blocks the vectors of the rows that stay."""
    start = 0
    for block in blocks_of(index.exact):
        yield block[staying[start : start + len(block)]]
        start += len(block)


def _changed(index: FactIndex, pictures: Pictures) -> Bools:
    """Return which rows are of a file among `pictures` that holds another picture than when the row was made."""
    names = index.rows["image"].to_pylist()
    came = {absolute(path) for path in pictures.paths}
    contents: dict[str, bytes | None] = {}
    for name in came.intersection(names):
        try:
            contents[name] = content_of(Path(name))
        except UserError:  # it is told when it cannot be embedded
            contents[name] = None
    then = index.rows["content"].to_pylist()
    return np.array([name in contents and contents[name] != was for name, was in zip(names, then, strict=True)])


def _check_one_space(index: FactIndex, filler: Filler) -> None:
    """Check that new rows can stand beside old ones: words are the same for all models, class means are not."""
    older = not pc.all(pc.equal(index.rows["model_version"], filler.fingerprint)).as_py()
    if older and filler.space.parts != SLOTS:
        raise UserError(
            f"{index.path} holds rows of older class means, which rows of newer ones cannot be compared with: first "
            f"`mas-triplets index refresh {shlex.quote(str(index.path))}`, then add"
        )


def _is_in(name: Path, places: set[Path]) -> bool:
    return any(place in (one, *one.parents) for place in places for one in (name, name.resolve()))


def _as_before(index: FactIndex) -> Filler:
    """Return the model that made the newest rows, whether or not the run has learnt more since."""
    record = index.record
    return Filler(index.run, record.model.after_task, record.model.fingerprint, index.known_facts, index.space)
