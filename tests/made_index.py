"""Indexes of rows that were drawn, not embedded: as many as a test wants, in clusters, with the words of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mas_triplets.retrieval.assemble import Wanted
from mas_triplets.retrieval.build import Filler, write_index
from mas_triplets.retrieval.embed import Block
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.training.run_folder import RunFolder

GIB = 2**30


def clustered(rows: int, slots: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return (rows, slots * dim) of unit length in each slot, near one of a few hundred directions."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(300, slots, dim))
    found = centres[generator.integers(0, 300, rows)] + 0.4 * generator.normal(size=(rows, slots, dim))
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return found.reshape(rows, -1).astype(np.float32)


def blocks_of_rows(rows: npt.NDArray[np.float32], size: int = 1000) -> Iterator[Block]:
    """Yield rows as blocks of pictures that do not exist, row r being /nowhere/r.png."""
    for start in range(0, len(rows), size):
        some = range(start, min(start + size, len(rows)))
        yield Block(
            rows[start : start + size],
            [f"/nowhere/{row}.png" for row in some],
            [(8, 8)] * len(some),
            [None] * len(some),
            [row.to_bytes(32) for row in some],
        )


def made_index(
    run: RunFolder,
    out: Path,
    rows: npt.NDArray[np.float32],
    kind: str = "flat",
    recall: float = 0.95,
    memory: int = GIB,
) -> FactIndex:
    """Write and open an index of these rows as if `run` had embedded them."""
    about = PicturesRecord(place="/nowhere", kind="folder", region="image", own=False, pictures=len(rows), skipped=0)
    write_index(Filler.of(run), out, blocks_of_rows(rows), lambda: about, Wanted(kind, recall, memory))
    return FactIndex.open(out, run)
