"""Pictures to rows of an index, in a stream: decoded once, embedded a batch at a time, nothing held."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from mas_triplets.data.images import check_picture
from mas_triplets.data.items import items_of
from mas_triplets.errors import UserError
from mas_triplets.model.inputs import encoding_batch, item_inputs
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.flat_file import Floats
from mas_triplets.retrieval.pictures import Decoded, Pictures, content_of, decoded
from mas_triplets.retrieval.space import FactSpace
from mas_triplets.retrieval.store import ROWS
from mas_triplets.training.run_folder import RunFolder

BATCH = 128
"""Items embedded at once."""


@dataclass(frozen=True)
class Block:
    """Some rows of an index.

    Attributes:
        vectors: (n, numbers per row).
        image: n paths.
        size: n (width, height) of the pictures, in pixels.
        box: n boxes, None for the whole picture.
        content: n SHA-256 of the files, 32 bytes each.
    """

    vectors: Floats
    image: Sequence[str]
    size: Sequence[tuple[int, int]]
    box: Sequence[list[float] | None]
    content: Sequence[bytes]

    def table(self, first: int, model_version: str) -> pa.Table:
        """Return the block's part of rows.parquet, for rows from `first` on."""
        width, height = np.array(self.size, dtype=np.int32).T
        columns = [
            np.arange(first, first + len(self.image)),
            self.image,
            width,
            height,
            self.box,
            [model_version] * len(self.image),
            self.content,
        ]
        return pa.Table.from_pydict(dict(zip(ROWS.names, columns, strict=True)), schema=ROWS)


@dataclass
class Embedder:
    """What turns pictures into rows, and what it could not.

    Attributes:
        run: whose model embeds.
        space: what rows are.
        model: of the run, in eval mode.
        skipped: (picture, reason) of those that could not be read.
        passed_over: how many pictures were passed over for their content.
    """

    run: RunFolder
    space: FactSpace
    model: TripletModel
    progress: Silent = SILENT
    skipped: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0

    def own_blocks(self, pictures: Pictures) -> Iterator[Block]:
        """Yield the rows of the run's own data set: what training has decoded and encoded is not done again."""
        dataset = self.run.dataset()
        inputs = item_inputs(self.model, dataset, items_of(dataset, pictures.region), self.run.config, self.progress)
        size = list(zip(*(dataset.images[side].to_pylist() for side in ("width", "height")), strict=True))
        every = np.arange(len(pictures.image))
        starts = range(0, len(every), BATCH)
        batches = zip(starts, inputs.batches(every, BATCH), strict=True)
        contents: dict[int, bytes] = {}  # of the pictures of one batch
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start, (positions, batch) in self.progress.track(batches, "indexing batches", len(starts)):
                if not len(positions):
                    continue
                items = start + positions
                image = pictures.image[items].tolist()
                new = [one for one in dict.fromkeys(image) if one not in contents]
                found = zip(new, pool.map(content_of, [pictures.paths[one] for one in new]), strict=True)
                contents = {one: contents[one] for one in set(image) & contents.keys()} | dict(found)
                for one in set(image):
                    if None in size[one]:  # the data set does not say how large its pictures are
                        size[one] = check_picture(pictures.paths[one])
                paths, boxes = [pictures.paths[one] for one in image], pictures.box[items]
                yield self._block(batch, paths, [size[one] for one in image], boxes, [contents[one] for one in image])
        for image_number, problem in inputs.unreadable.items():
            self._skip(pictures.paths[image_number], problem)

    def blocks(self, pictures: Pictures, known: Collection[bytes] = ()) -> Iterator[Block]:
        """Yield the rows of any pictures, read in a stream; those of a `known` content are passed over."""
        waiting: list[Decoded] = []
        stream = decoded(pictures, self.model.encoder.view, known)
        for one in self.progress.track(stream, "indexing pictures", pictures.count):
            if one.problem is not None:
                self._skip(one.path, one.problem)
            elif not one.pixels:
                self.passed_over += 1
            else:
                waiting.append(one)
            if sum(len(before.pixels) for before in waiting) >= BATCH:
                yield from self._blocks_of(waiting)
                waiting = []
        yield from self._blocks_of(waiting)

    def _blocks_of(self, waiting: Sequence[Decoded]) -> Iterator[Block]:
        every = [(one, box, pixels) for one in waiting for box, pixels in zip(one.box, one.pixels, strict=True)]
        for start in range(0, len(every), BATCH):
            some = every[start : start + BATCH]
            batch = torch.from_numpy(np.stack([pixels for _, _, pixels in some]))
            paths, boxes = [one.path for one, _, _ in some], np.stack([box for _, box, _ in some])
            yield self._block(
                batch, paths, [one.size for one, _, _ in some], boxes, [one.content for one, _, _ in some]
            )

    def _block(
        self,
        batch: torch.Tensor,
        paths: Sequence[Path],
        size: Sequence[tuple[int, int]],
        boxes: npt.NDArray[np.float32],
        content: Sequence[bytes],
    ) -> Block:
        device = next(self.model.parameters()).device
        at_once = len(batch) if batch.is_floating_point() else encoding_batch(device)
        with torch.inference_mode():
            rows = torch.cat([self.space.rows(self.model, some.to(device)).cpu() for some in batch.split(at_once)])
        wrong = torch.nonzero(~rows.isfinite().all(1))
        image = [absolute(path) for path in paths]
        if len(wrong):
            raise UserError(
                f"the model of {self.run.path} gives numbers that are not finite for {image[int(wrong[0])]}: it has "
                "diverged, train it again with a smaller train.learning_rate"
            )
        box = [None if np.isnan(row).any() else row.tolist() for row in boxes]
        return Block(rows.numpy(), image, size, box, content)

    def _skip(self, path: Path, problem: str) -> None:
        self.skipped.append((os.fsencode(absolute(path)).decode("utf-8", "backslashreplace"), problem))


def embedded_blocks(embedder: Embedder, pictures: Pictures, *, own: bool) -> Iterable[Block]:
    """Return the rows of pictures; those of the run's own data set, where all are there, from what training kept."""
    if own and all(path.is_file() for path in pictures.paths):
        return embedder.own_blocks(pictures)
    return embedder.blocks(pictures)


def absolute(path: Path) -> str:
    """Return a path from the root, links kept."""
    return os.path.abspath(path)  # noqa: PTH100 - unlike resolve() it keeps links, unlike absolute() no ".." is left
