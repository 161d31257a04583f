"""Writing an index anew in its place: readers see it as it was or as it will be, never a half."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mas_triplets.files import put_back, put_in_place, replaceable, scratch_folder
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.assemble import Before, Wanted, assemble
from mas_triplets.retrieval.build import Filler, only_one, read_skipped, tell_skipped, write_facts, write_skipped
from mas_triplets.retrieval.flat_file import Floats, write_flat
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.retrieval.store import check_replaceable, read_record


@contextmanager
def changing(path: Path) -> Iterator[Path]:
    """Keep other processes from changing the index in folder `path` meanwhile; they may read it.

    Yields:
        Where it is: from the root, and not through a link.

    Raises:
        UserError: it is no index, holds files that are not an index's, or another process is changing it.
    """
    path = replaceable(path)
    put_back(path)
    read_record(path)
    check_replaceable(path)
    with only_one(path):
        yield path


def rewrite(
    index: FactIndex,
    filler: Filler,
    vectors: Iterable[Floats],
    table: Callable[[], pa.Table],
    pictures: Callable[[], PicturesRecord],
    *,
    kept: int | None = None,
    skipped: Sequence[tuple[str, str]] = (),
    progress: Silent = SILENT,
) -> None:
    """Write an index with other rows in the place of `index`.

    Args:
        index: as it is.
        filler: whose model made the newest rows.
        vectors: all rows, in blocks.
        table: asked when these are written: rows.parquet, of which the column `row` is numbered anew.
        pictures: asked likewise: what the rows are of.
        kept: its first so many rows stay as they are, and others follow; None if rows have changed or gone.
        skipped: (picture, reason) of those that could not be read just now.
        progress: who is told how far it is.
    """
    record, path = index.record, index.path
    with scratch_folder(path) as scratch:
        write_flat(scratch / "exact.faiss", index.exact.d, vectors)
        rows = table()
        rows = rows.set_column(0, rows.schema.field(0), pa.array(np.arange(len(rows))))
        pq.write_table(rows, scratch / "rows.parquet", compression="zstd")
        again = {image for image, _ in skipped} | set(rows["image"].to_pylist())
        write_skipped(scratch, [one for one in read_skipped(path) if one[0] not in again] + list(skipped))
        tell_skipped(skipped, progress)
        facts = filler.facts or index.known_facts
        write_facts(scratch, facts)
        assemble(
            scratch,
            Wanted(record.asked_kind, record.wanted_recall, record.memory),
            filler.space,
            facts,
            filler.record(path),
            pictures(),
            Before(record, index.faiss, kept),
            progress,
        )
        check_replaceable(path)
        put_in_place(scratch, path)
