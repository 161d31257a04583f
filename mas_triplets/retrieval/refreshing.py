"""Embedding the rows of older models anew, a part at a time: what is done is kept whatever happens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mas_triplets.data.prepared import IntArray
from mas_triplets.facts import SLOTS
from mas_triplets.files import read_json, sha256_of_json, write_json
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.build import Filler
from mas_triplets.retrieval.embed import BATCH, Embedder
from mas_triplets.retrieval.flat_file import Floats, blocks_of
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.pictures import Pictures
from mas_triplets.retrieval.rewriting import changing, rewrite
from mas_triplets.training.run_folder import RunFolder

_PART = 8 * BATCH  # rows between two moments at which what is done is on disk


@dataclass(frozen=True)
class Refreshed:
    """What `refresh_index` did.

    Attributes:
        rows: embedded anew, by this call and one before it that was cut off.
        left: rows of older models that are still to be done.
        gone: rows that stay as they are, since their pictures cannot be read, or are no longer the same.
    """

    rows: int
    left: int
    gone: int


def refresh_index(path: Path, run: RunFolder | Path | None = None, progress: Silent = SILENT) -> Refreshed:
    """Embed with the run's newest model the rows that an older one made.

    The new rows wait beside the index, a part after the other, and take their places all at once at the end, or when
    the user interrupts. A process that is killed loses one part; the same call goes on from there, unless the index was
    changed meanwhile. Class means take their places all together or not yet.

    Args:
        path: the index.
        run: the run that filled the index, if it has moved.
        progress: who is told how far it is.

    Raises:
        UserError: it is no index, its run cannot be read, or another process is changing it.
        KeyboardInterrupt: the user interrupted; what was done is in the index.
    """
    with changing(path) as place:
        index = FactIndex.open(place, run, as_is=True)
        filler = Filler.of(index.run, progress)
        old = np.flatnonzero(pc.not_equal(index.rows["model_version"], filler.fingerprint).to_numpy())
        if not len(old):
            return Refreshed(0, 0, 0)
        waiting = _Waiting(index, filler, old)
        interrupted = False
        try:
            _embed(index, filler.embedder(), old, waiting, progress)
        except KeyboardInterrupt:
            interrupted = True
        done, vectors = waiting.read()
        fresh = old[: len(done)][done]
        whole = len(done) == len(old) or index.space.parts == SLOTS  # class means of two tasks cannot be compared
        if (len(fresh) or (len(done) and index.record.model.fingerprint != filler.fingerprint)) and whole:
            progress.note(f"putting {len(fresh):,} rows in their places")
            _put(index, filler, fresh, vectors[done], progress)
            waiting.remove()
        if interrupted:
            raise KeyboardInterrupt
        return Refreshed(len(fresh), len(old) - len(done), int((~done).sum()))


class _Waiting:
    """New rows on disk beside an index: `done`, a byte a row, 1 if it could be embedded, and `vectors`."""

    def __init__(self, index: FactIndex, filler: Filler, old: IntArray) -> None:
        self._width = index.exact.d
        self.folder = index.path.with_name(f".{index.path.name}.refresh")
        key = {
            "model": filler.fingerprint,
            "generation": index.record.generation,
            "index": sha256_of_json(index.record.model_dump(mode="json")),
            "rows": len(old),
        }
        if not self.folder.is_dir() or self._key() != key:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            for name in ("done", "vectors"):
                (self.folder / name).touch()
            write_json(self.folder / "key.json", key)

    def add(self, done: np.ndarray[Any, np.dtype[np.bool_]], vectors: Floats) -> None:
        """Append a part: which of its rows could be embedded (n,), and (n, width), of which the others mean nothing."""
        kept, _ = self.read()
        for name, values, size in (("vectors", vectors, 4 * self._width), ("done", done.astype(np.uint8), 1)):
            with (self.folder / name).open("r+b") as file:  # a part that was cut off is written over
                file.seek(len(kept) * size)
                file.write(np.ascontiguousarray(values).tobytes())
                file.truncate()

    def read(self) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], Floats]:
        """Return which of the rows so far could be embedded (n,), and the new rows (n, width)."""
        whole = (self.folder / "vectors").stat().st_size // (4 * self._width)  # a part may have been cut off
        done = np.fromfile(self.folder / "done", dtype=np.uint8).astype(np.bool_)[:whole]
        if not len(done):
            return done, np.empty((0, self._width), dtype=np.float32)
        return done, np.memmap(self.folder / "vectors", np.float32, "r", shape=(len(done), self._width))

    def remove(self) -> None:
        """Remove them."""
        shutil.rmtree(self.folder)

    def _key(self) -> Any:
        path = self.folder / "key.json"
        return read_json(path, "how far a refresh is") if path.is_file() else None


def _embed(index: FactIndex, embedder: Embedder, old: IntArray, waiting: _Waiting, progress: Silent) -> None:
    """Embed the old rows that are still to be done, part by part."""
    starts = range(len(waiting.read()[0]), len(old), _PART)
    for first in progress.track(starts, "refreshing parts", len(starts)):
        rows = old[first : first + _PART]
        part = index.rows.take(rows)
        paths = list(dict.fromkeys(part["image"].to_pylist()))
        number = {name: place for place, name in enumerate(paths)}
        image = np.array([number[name] for name in part["image"].to_pylist()])
        box = np.array([[np.nan] * 4 if one is None else one for one in part["box"].to_pylist()], dtype=np.float32)
        order = np.argsort(image, kind="stable")
        pictures = Pictures(index.path, "folder", "image", [Path(name) for name in paths], image[order], box[order])
        embedded = {}
        for block in embedder.blocks(pictures):
            for name, where, content, vector in zip(block.image, block.box, block.content, block.vectors, strict=True):
                embedded[name, None if where is None else tuple(where), content] = vector
        keys = [
            (name, None if where is None else tuple(where), content)
            for name, where, content in zip(
                *(part[column].to_pylist() for column in ("image", "box", "content")), strict=True
            )
        ]
        done = np.array([key in embedded for key in keys])
        blank = np.zeros(index.exact.d, dtype=np.float32)
        waiting.add(done, np.stack([embedded.get(key, blank) for key in keys]))


def _put(index: FactIndex, filler: Filler, fresh: IntArray, vectors: Floats, progress: Silent) -> None:
    version = np.array(index.rows["model_version"].to_pylist(), dtype=object)
    version[fresh] = filler.fingerprint
    place = index.rows.schema.get_field_index("model_version")
    table = index.rows.set_column(place, index.rows.schema.field(place), pa.array(version.tolist()))

    def replaced() -> Iterator[Floats]:
        start = 0
        for block in blocks_of(index.exact):
            first, last = np.searchsorted(fresh, [start, start + len(block)])
            new = block.copy()
            new[fresh[first:last] - start] = vectors[first:last]
            start += len(block)
            yield new

    rewrite(index, filler, replaced(), lambda: table, lambda: index.record.pictures, progress=progress)
