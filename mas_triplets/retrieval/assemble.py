"""From the rows of an index to the index: its kind, its search structure, its measured recall, index.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.files import sha256_of_file, write_json
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.flat_file import blocks_of, read_flat, vectors_of
from mas_triplets.retrieval.kinds import Kind, choose_kind, make_index, training_rows
from mas_triplets.retrieval.recall import Searching, tuned
from mas_triplets.retrieval.record import (
    SCHEMA,
    FileRecord,
    IndexRecord,
    ModelRecord,
    PicturesRecord,
    SearchRecord,
)
from mas_triplets.retrieval.space import FactSpace

_RETRAINED = 1.5  # groups and codes are learnt anew when there are so many times as many rows as they were learnt from
_REMEASURED = 1.05
_SEED = 0


@dataclass(frozen=True)
class Wanted:
    """What is asked of an index.

    Attributes:
        kind: `auto` or a kind's name.
        recall: the share of the ten best rows that a search should find, above 0 and at most 1.
        memory: bytes that index.faiss may take while it is searched.
    """

    kind: str
    recall: float
    memory: int


@dataclass(frozen=True)
class Before:
    """An index that is written anew with the same or more rows.

    Attributes:
        record: its index.json.
        index: its index.faiss, of a kind other than flat.
        kept: its first so many rows stay as they are; the others are new. None if rows have changed or gone.
    """

    record: IndexRecord
    index: Any
    kept: int | None


def assemble(
    scratch: Path,
    wanted: Wanted,
    space: FactSpace,
    facts: Sequence[Fact] | None,
    model: ModelRecord,
    pictures: PicturesRecord,
    before: Before | None = None,
    progress: Silent = SILENT,
) -> IndexRecord:
    """Make an index whole that has exact.faiss, rows.parquet and what else a reader needs.

    Args:
        scratch: its folder, to be put in place afterwards.
        wanted: kind, recall and memory.
        space: how facts are embedded.
        facts: of the run's data set, to measure recall by; None if they are not known.
        model: that made the newest rows.
        pictures: that the rows are of.
        before: what it was before, of which the search structure is used again where that is possible.
        progress: who is told how far it is.

    Raises:
        UserError: the kind cannot be had.
    """
    exact = scratch / "exact.faiss"
    flat = read_flat(exact)
    rows, width = flat.ntotal, flat.d
    kind, reason = _kind(wanted, rows, width, before)
    trained = rows
    if kind.name == "flat":
        index = flat
        exact.rename(scratch / "index.faiss")
    else:
        index = _structure(kind, flat, before, progress)
        if before is not None and index is before.index:
            trained = before.record.trained_rows
        faiss.write_index(index, str(scratch / "index.faiss"))
    if before is not None and _still_measured(before, kind, rows, wanted):
        measured, search = before.record.measured_rows, before.record.search
    else:
        if kind.name != "flat":
            progress.note(f"measuring the recall of {kind.name} against exact search")
        measured, search = rows, _recorded(tuned(index, kind, flat, space, facts, wanted.recall))
    record = IndexRecord(
        format=SCHEMA,
        generation=1 if before is None else before.record.generation + 1,
        kind=kind.name,
        reason=reason,
        asked_kind=wanted.kind,
        wanted_recall=wanted.recall,
        memory=wanted.memory,
        recall=min(one.recall[10] for one in search.values()),
        recall_measured=_how(search),
        search=search,
        measured_rows=measured,
        trained_rows=trained,
        rows=rows,
        numbers_per_row=width,
        score=space.score,
        parts=space.parts,
        dim=space.dim,
        model=model,
        pictures=pictures,
        versions={name: version(name) for name in ("mas-triplets", "faiss-cpu", "torch")},
        files={
            path.name: FileRecord(bytes=path.stat().st_size, sha256=sha256_of_file(path))
            for path in sorted(scratch.iterdir())
        },
    )
    write_json(scratch / "index.json", record.model_dump(mode="json"))
    return record


def _kind(wanted: Wanted, rows: int, width: int, before: Before | None) -> tuple[Kind, str]:
    """Return the kind; an index that has come to have too few or too many rows for its kind becomes flat."""
    try:
        return choose_kind(wanted.kind, rows, width, wanted.memory)
    except UserError as error:
        if before is None:
            raise
        kind, _ = choose_kind("flat", rows, width, wanted.memory)
        return kind, f"{wanted.kind} was asked for, but: {error}"


def _structure(kind: Kind, flat: Any, before: Before | None, progress: Silent) -> Any:
    """Return index.faiss in memory, with all rows."""
    rows, width = flat.ntotal, flat.d
    if before is not None and before.record.kind == kind.name and rows <= _RETRAINED * before.record.trained_rows:
        index, first = before.index, before.kept
        if first is None:
            index.reset()
            first = 0
    else:
        index, first = make_index(kind, rows, width), 0
        sample = training_rows(kind, rows)
        if sample:
            progress.note(f"learning the groups of {kind.name} from {sample:,} of {rows:,} rows")
            chosen = np.sort(np.random.default_rng(_SEED).choice(rows, sample, replace=False))
            index.train(vectors_of(flat)[chosen])
    every = list(blocks_of(flat))
    done = 0
    for block in progress.track(every, f"adding rows to {kind.name}", len(every)):
        new = block[max(0, first - done) :]
        if len(new):
            index.add(new)
        done += len(block)
    return index


def _still_measured(before: Before, kind: Kind, rows: int, wanted: Wanted) -> bool:
    record = before.record
    return (
        before.kept is not None
        and record.kind == kind.name
        and record.wanted_recall == wanted.recall
        and rows <= _REMEASURED * record.measured_rows
    )


def _recorded(found: dict[str, Searching]) -> dict[str, SearchRecord]:
    return {
        name: SearchRecord(
            parameters=None if one.parameters is None else dict(one.parameters),
            recall=one.recall,
            queries=one.queries,
            reason=one.reason,
        )
        for name, one in found.items()
    }


def _how(search: dict[str, SearchRecord]) -> str:
    approximate = [one for one in search.values() if one.parameters is not None]
    if not approximate:
        return "exact"
    queries = min(one.queries for one in approximate)
    masks = f"{len(approximate)} of {len(search)} masks"
    return f"against exact search, on at least {queries} held-out queries for each of {masks}; the others are exact"
