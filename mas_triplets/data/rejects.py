"""The account of what is left out of a data set: one line a record, in Arrow's memory, for there may be millions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mas_triplets.data.format import REASONS
from mas_triplets.files import storable, to_json

_KEYS = ("source", "reason", "detail")
_SCHEMA = pa.schema([(key, pa.string()) for key in _KEYS])
_CHUNK = 1 << 14


@dataclass
class Rejects:
    """Takes rejected records in any order and writes them sorted.

    Attributes:
        counts: how many records were left out, by reason.
        first: (source, detail) of the first record; None if there is none.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: tuple[str, str] | None = None
    _waiting: list[tuple[str, str, str]] = field(default_factory=list)
    _batches: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, source: str, reason: str, detail: str) -> None:
        """Note a record that is left out; `reason` is one of `REASONS`."""
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not one of the reasons of the format")
        self.counts[reason] += 1
        self.first = self.first or (source, detail)
        self._waiting.append((storable(source), reason, storable(detail)))
        if len(self._waiting) == _CHUNK:
            self._to_arrow()

    def write(self, path: Path) -> None:
        """Write one JSON object a line, sorted by source, reason and detail: equal records give equal bytes."""
        self._to_arrow()
        table = pa.Table.from_batches(self._batches, schema=_SCHEMA).sort_by([(key, "ascending") for key in _KEYS])
        with path.open("w", encoding="utf-8", newline="\n") as handle:
            for batch in table.to_batches(max_chunksize=_CHUNK):
                handle.writelines(to_json(record, indent=None) + "\n" for record in batch.to_pylist())

    def _to_arrow(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            arrays = [pa.array(column, type=pa.string()) for column in columns]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))
            self._waiting = []
