"""`FactIndex`: which pictures show a fact, and which facts a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from mas_triplets.data.boxes import Box
from mas_triplets.data.format import ORDERS
from mas_triplets.data.images import read_picture
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.model.triplet import TripletModel, query_rows
from mas_triplets.retrieval.flat_file import Floats, vectors_of
from mas_triplets.retrieval.hits import FactHit, Hit
from mas_triplets.retrieval.kinds import KINDS
from mas_triplets.retrieval.opening import find_run, steadily
from mas_triplets.retrieval.query import approximate_candidates, candidates, ranked
from mas_triplets.retrieval.recall import mask_name
from mas_triplets.retrieval.record import IndexRecord, SearchRecord
from mas_triplets.retrieval.scores import Array, best_first, combined, slot_parts
from mas_triplets.retrieval.space import FactSpace, space_of
from mas_triplets.retrieval.store import (
    check_whole,
    knows_facts,
    no_facts,
    read_facts,
    read_faiss,
    read_record,
    read_rows,
)
from mas_triplets.training.run_folder import RunFolder


@dataclass(frozen=True)
class FactIndex:
    """An index in memory with the run that filled it; one index serves every mask.

    Attributes:
        path: its folder.
        record: the contents of index.json.
        faiss: the FAISS index; row r is `rows` row r.
        exact: the same rows in a flat index, a memory map; the same object where the index is flat.
        rows: rows.parquet: row, image, width, height, box, model_version, content.
        run: the run whose model filled it.
        known_facts: the facts of the run's data set; None if that could not be read when the index was made.
    """

    path: Path
    record: IndexRecord
    faiss: Any
    exact: Any
    rows: pa.Table
    run: RunFolder
    known_facts: tuple[Fact, ...] | None

    @classmethod
    def open(cls, path: str | Path, run: str | Path | RunFolder | None = None, *, as_is: bool = False) -> FactIndex:
        """Read the index in folder `path`.

        Args:
            path: the folder.
            run: the run that filled it, where that is no longer in the place that the index noted.
            as_is: answer with the model that filled it although the run has learnt further tasks since.

        Raises:
            UserError: a file is absent or damaged, files do not fit together, the run is not found, or the run's model
                is no longer the one that filled the index; the sentence names the file and the remedy.
        """
        path = Path(path)
        return steadily(path, lambda: cls._read(path, run, as_is))

    @classmethod
    def _read(cls, path: Path, run: str | Path | RunFolder | None, as_is: bool) -> FactIndex:
        record = read_record(path)
        index, rows = read_faiss(path, record), read_rows(path, record)
        exact = index if record.kind == "flat" else read_faiss(path, record, "exact.faiss")
        check_whole(path, record, rows, index)
        facts = read_facts(path, record) if knows_facts(record) else None
        found = find_run(path, record, run, as_is=as_is)
        opened = cls(path, record, index, exact, rows, found, facts)
        space = opened.space
        if (space.dim, space.score, space.parts) != (record.dim, record.score, record.parts):
            raise UserError(
                f"{path} holds {record.score} rows of {record.dim} numbers a slot, the model of {found.path} has "
                f"{space.dim} and scores by {space.score}: {record.remedy(path, found.path)}"
            )
        return opened

    def __len__(self) -> int:
        return len(self.rows)

    def search(self, fact: Fact | str, k: int = 10) -> list[Hit]:
        """Return the `k` best rows for a fact such as "<person, ride, horse>" or "<*, ride>", best first.

        Of equal scores the lower row comes first; fewer than `k` rows give all of them.

        Raises:
            UserError: the text is not a fact, a word has no vector (the nearest known ones are named), or k < 1.
        """
        return self.search_many([fact], k)[0]

    def search_many(self, facts: Sequence[Fact | str], k: int = 10) -> list[list[Hit]]:
        """Return what `search` returns, for several facts at once with one matrix product."""
        _check_k(k)
        if not facts:
            return []
        vectors, mask = self.space.embed([fact if isinstance(fact, Fact) else Fact.parse(fact) for fact in facts])
        queries = query_rows(vectors, mask, self.record.score).numpy()
        by_mask: dict[str, list[int]] = {}
        for place, present in enumerate(mask.tolist()):
            by_mask.setdefault(mask_name(self.record.parts, present), []).append(place)
        answer: list[list[Hit]] = [[] for _ in facts]
        for name, places in by_mask.items():
            rows = self._candidates(name, queries[places], k)
            found = self._ranked(rows, vectors[places].numpy(), mask[places[0]].numpy(), k)
            for place, hits in zip(places, found, strict=True):
                answer[place] = hits
        return answer

    def searched(self, fact: Fact | str) -> SearchRecord:
        """Return how a fact is searched: exactly, or approximately with what recall.

        Approximate search that finds too few rows is followed by exact search.
        """
        _, mask = self.space.embed([fact if isinstance(fact, Fact) else Fact.parse(fact)])
        return self.record.search[mask_name(self.record.parts, mask[0].tolist())]

    def is_exact(self, fact: Fact | str) -> bool:
        """Whether the answer to a fact is found by comparing every row; see `searched`."""
        return self.searched(fact).parameters is None

    def similar(self, picture: str | Path | Image.Image | int, k: int = 10) -> list[Hit]:
        """Return the `k` rows most like a picture, best first, by comparing every row, part by part.

        The score is the mean over the slots of the cosines of two pictures' embeddings, or for euclidean minus the sum
        of their squared distances.

        Args:
            picture: a file, a picture, or the number of a row, which with the others of its picture is left out.
            k: at least 1.

        Raises:
            UserError: the picture cannot be read, there is no such row, or k < 1.
        """
        _check_k(k)
        own: IntArray = np.empty(0, dtype=np.int64)
        row = self._row_of(picture)
        if isinstance(picture, int):
            own = np.flatnonzero(pc.equal(self.rows["image"], self.rows["image"][picture]).to_numpy())
        parts = len(self.record.parts)
        wanted = np.asarray(row[:, : parts * self.record.dim], dtype=np.float32).reshape(1, parts, self.record.dim)
        mask = np.ones((1, parts), dtype=np.float32)
        query = query_rows(torch.from_numpy(wanted.copy()), torch.from_numpy(mask), self.record.score).numpy()
        found = np.setdiff1d(candidates(self.exact, query, k + len(own))[0], own)
        return self._ranked(found[None], wanted, mask[0], k)[0]

    def search_picture(self, path: str | Path, k: int = 10) -> list[FactHit]:
        """Return the `k` best facts of each order for the picture in a file, order 1 first; see `facts_of`."""
        return [hit for hits in self.facts_of(path, k).values() for hit in hits]

    def facts_of(self, picture: str | Path | Image.Image | int, k: int = 10) -> dict[int, list[FactHit]]:
        """Return which facts hold in a picture: for each order, the `k` best of all facts the run knows, best first.

        Facts of different orders are not compared, since fewer slots make higher scores. Of equal scores the fact that
        comes first in the data set is first. The picture is embedded as a whole and need not be in the index; a number
        is that of a row, which is asked without its picture.

        Raises:
            UserError: the picture cannot be read, there is no such row, or k < 1.
        """
        _check_k(k)
        asked = self._asked
        vectors, mask = (tensor.numpy() for tensor in self.space.embed(asked))
        parts = slot_parts(self._row_of(picture), vectors, self.record.score)
        scores = combined(parts, mask, self.record.score)
        orders = np.array([fact.order for fact in asked])
        answer: dict[int, list[FactHit]] = {}
        for order in ORDERS:
            ids = np.flatnonzero(orders == order)
            best = ids[best_first(scores[ids], ids, k)]
            answer[order] = [
                FactHit(rank, float(scores[i]), asked[i], self._parts(parts[i], mask[i]))
                for rank, i in enumerate(best.tolist(), 1)
            ]
        return answer

    @cached_property
    def space(self) -> FactSpace:
        """How pictures and facts are compared."""
        stage = self.record.model.after_task
        return space_of(self.run, stage, self.known_facts)

    @cached_property
    def vectors(self) -> Floats:
        """All rows (N, numbers per row), read-only, a view of the memory map."""
        return vectors_of(self.exact)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts of the run's data set, of all orders.

        Raises:
            UserError: the data set could not be read when the index was made.
        """
        if self.known_facts is None:
            raise no_facts(self.path, self.record)
        return self.known_facts

    @cached_property
    def model(self) -> TripletModel:
        """The model that filled the index, on the CPU."""
        return self.run.load_model(self.record.model.after_task)

    @cached_property
    def _asked(self) -> list[Fact]:
        return [self.facts[place] for place in self.space.known(self.facts).tolist()]

    def check_row(self, row: int) -> None:
        """Check that there is a row of that number.

        Raises:
            UserError: there is none.
        """
        if not 0 <= row < len(self):
            raise UserError(f"there is no row {row}: this index has the rows 0 to {len(self) - 1:,}")

    def _row_of(self, picture: str | Path | Image.Image | int) -> Floats:
        """Return (1, numbers per row): a row of the index, or what a picture would be in it."""
        if isinstance(picture, int):
            self.check_row(picture)
            return self.vectors[picture : picture + 1]
        if not isinstance(picture, Image.Image):
            picture = read_picture(Path(picture))
        pixels = self.model.encoder.view.draw(picture.convert("RGB"))
        with torch.inference_mode():
            row: Floats = self.space.rows(self.model, torch.from_numpy(np.array(pixels)[None])).numpy()
        return row

    def _candidates(self, name: str, queries: Floats, k: int) -> IntArray:
        """Return candidate rows of queries with one mask; whatever is found too few for is searched exactly."""
        searching = self.record.search[name]
        if searching.parameters is None:
            return candidates(self.exact, queries, k)
        found = approximate_candidates(self.faiss, KINDS[self.record.kind], searching.parameters, queries, k)
        short = np.flatnonzero((found >= 0).sum(1) < min(k, len(self)))
        if not len(short):
            return found
        exact = candidates(self.exact, queries[short], k)
        wider = np.full((len(found), max(found.shape[1], exact.shape[1])), -1, dtype=np.int64)
        wider[:, : found.shape[1]] = found
        wider[short] = -1
        wider[short, : exact.shape[1]] = exact
        return wider

    def _ranked(self, rows: IntArray, wanted: Floats, mask: Floats, k: int) -> list[list[Hit]]:
        """Return the hits of queries with one mask, (M, S, D), among candidate rows (M, c)."""
        rows, scores, parts = ranked(self.vectors, rows, wanted, mask, self.record.score, k)
        names = [name for name, present in zip(self.record.parts, mask.tolist(), strict=True) if present]
        shown = parts[..., mask.astype(np.bool_)].tolist()
        found = rows >= 0
        images, boxes = (iter(self.rows[name].take(rows[found]).to_pylist()) for name in ("image", "box"))
        return [
            [
                Hit(rank, score, next(images), _box(next(boxes)), dict(zip(names, part, strict=True)), row)
                for rank, (row, score, part) in enumerate(zip(*columns, strict=True), 1)
                if row >= 0
            ]
            for columns in zip(rows.tolist(), scores.tolist(), shown, strict=True)
        ]

    def _parts(self, part: Array, mask: Floats) -> dict[str, float]:
        named = zip(self.record.parts, part.tolist(), mask.tolist(), strict=True)
        return {name: value for name, value, present in named if present}


def _box(found: list[float] | None) -> Box | None:
    return None if found is None else (found[0], found[1], found[2], found[3])


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"-k is {k}: ask for at least one result")
