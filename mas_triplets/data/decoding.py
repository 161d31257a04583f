"""Decoding pictures in order, ahead of who uses them: in worker processes, or in threads of this one.

Items that lie next to one another and share a picture share one decoding. A picture that cannot be read is told, not
raised: what is to be done about it is decided above.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mas_triplets.data.boxes import Box
from mas_triplets.data.images import read_picture
from mas_triplets.data.items import Items
from mas_triplets.data.prepared import IntArray
from mas_triplets.data.view import Pixels, View
from mas_triplets.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
_PICTURES = 8  # pictures a piece of work for a worker process: few enough to begin soon, enough to be worth sending
_AHEAD = 2  # such pieces waiting for each worker


@dataclass(frozen=True)
class Decoded:
    """Some neighbouring items of one picture.

    Attributes:
        image: the picture's number.
        count: how many items.
        pixels: (count, size, size, 3) uint8, or None if the picture cannot be read.
        problem: the sentence that says why it cannot.
    """

    image: int
    count: int
    pixels: Pixels | None
    problem: str | None = None


class Decoder:
    """Decodes items of a data set; picklable, so that worker processes can be given one.

    Args:
        paths: the file of each picture.
        items: the items.
        view: how they are drawn.
    """

    def __init__(self, paths: Sequence[Path], items: Items, view: View) -> None:
        self.paths, self.items, self.view = paths, items, view

    def __call__(self, run: IntArray) -> Decoded:
        """Decode the items `run` of one picture."""
        image = int(self.items.image[run[0]])
        try:
            picture = read_picture(self.paths[image])
            drawn = [self.view.draw(picture, _box(self.items.box[item])) for item in run]
        except UserError as error:
            return Decoded(image, len(run), None, str(error))
        except ValueError as error:
            return Decoded(image, len(run), None, f"a box of {self.paths[image]} does not fit the picture: {error}")
        return Decoded(image, len(run), np.stack(drawn))

    def decode(self, order: IntArray, workers: int) -> Iterator[Decoded]:
        """Yield the items `order` in that order, in runs that share a picture; `workers` processes, 0: threads."""
        if not len(order):
            return
        runs = np.split(order, np.flatnonzero(np.diff(self.items.image[order])) + 1)
        if workers == 0:
            yield from _in_threads(self, runs)
        else:
            yield from _in_processes(self, runs, workers)


def worker_count(wanted: int | None) -> int:
    """Return how many processes decode: what is wanted, or one a processor and at most 8."""
    return min(8, os.cpu_count() or 1) if wanted is None else wanted


def _box(row: npt.NDArray[np.float32]) -> Box | None:
    return None if np.isnan(row).any() else tuple(row.tolist())


def _in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
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


class _Pieces:
    """Pieces of work for a loader: some pictures each."""

    def __init__(self, decoder: Decoder, runs: list[IntArray]) -> None:
        self.decoder, self.runs = decoder, runs

    def __len__(self) -> int:
        return -(-len(self.runs) // _PICTURES)

    def __getitem__(self, piece: int) -> tuple[Any, list[tuple[int, int, str | None]]]:
        """Return the pixels of all that could be read as one tensor, and (picture, items, problem) of each run."""
        import torch

        found = [self.decoder(run) for run in self.runs[piece * _PICTURES : (piece + 1) * _PICTURES]]
        pixels = [one.pixels for one in found if one.pixels is not None]
        together = torch.from_numpy(np.concatenate(pixels)) if pixels else None
        return together, [(one.image, one.count, one.problem) for one in found]


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Go on decoding when the whole group of processes is asked to stop: the main one finishes its step first."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _in_processes(decoder: Decoder, runs: list[IntArray], workers: int) -> Iterator[Decoded]:
    import torch
    from torch.utils.data import DataLoader

    pieces = _Pieces(decoder, runs)
    loader: Iterable[Any] = DataLoader(
        pieces,  # type: ignore[arg-type]  # it asks for __len__ and __getitem__, no more
        batch_size=None,
        num_workers=min(workers, len(pieces)),
        prefetch_factor=_AHEAD,
        worker_init_fn=_leave_signals_to_the_main_process,
        generator=torch.Generator(),  # its own: it draws a number, which must not be one of training's
    )
    for together, found in loader:
        start = 0
        for image, count, problem in found:
            if problem is not None:
                yield Decoded(image, count, None, problem)
                continue
            yield Decoded(image, count, together[start : start + count].numpy())
            start += count
