"""`FactIndex`: which pictures show a fact, and which facts a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from mas_triplets.data.boxes import Box
from mas_triplets.data.format import ORDERS
from mas_triplets.data.images import read_picture
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.triplet import TripletModel, gallery_rows, query_rows
from mas_triplets.retrieval.query import candidates, ranked
from mas_triplets.retrieval.scores import Array, best_first, combined, slot_parts
from mas_triplets.retrieval.store import IndexRecord, check_whole, read_facts, read_faiss, read_record, read_rows
from mas_triplets.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of the index that answers a query.

    Attributes:
        rank: from 1.
        score: cosine, -1 to 1, or euclidean, at most 0; higher is better.
        image: path of the picture.
        box: [x1, y1, x2, y2] in its pixels, or None for the whole picture.
        slots: the part of the score of each slot the query has; their mean (cosine) or sum (euclidean) is the score.
    """

    rank: int
    score: float
    image: str
    box: Box | None
    slots: dict[str, float]


@dataclass(frozen=True, slots=True)
class FactHit:
    """A fact found in a picture; `rank` is from 1 among the facts of its order, `slots` as in `Hit`."""

    rank: int
    score: float
    fact: Fact
    slots: dict[str, float]

    @property
    def order(self) -> int:
        """How many slots the fact has, 1 to 3."""
        return self.fact.order


@dataclass(frozen=True)
class FactIndex:
    """An index in memory with the run that filled it; one index serves every mask.

    Attributes:
        path: its folder.
        record: the contents of index.json.
        faiss: the FAISS index; row r is `rows` row r.
        rows: rows.parquet: row, image, width, height, box, model_version.
        run: the run whose model filled it.
    """

    path: Path
    record: IndexRecord
    faiss: Any
    rows: pa.Table
    run: RunFolder

    @classmethod
    def open(cls, path: str | Path, run: str | Path | RunFolder | None = None) -> FactIndex:
        """Read the index in folder `path`.

        Args:
            path: the folder.
            run: the run that filled it, where that is no longer in the place that the index noted.

        Raises:
            UserError: a file is absent or damaged, files do not fit together, the run is not found, or the run's model
                is no longer the one that filled the index; the sentence names the file and the remedy.
        """
        path = Path(path)
        record = read_record(path)
        index, rows = read_faiss(path, record), read_rows(path, record)
        check_whole(path, record, rows, index)
        found = _find_run(path, record, run)
        if (found.language.dim, found.config.model.score) != (record.dim, record.score):
            raise UserError(
                f"{path} holds {record.score} rows of {record.dim} numbers a slot, the model of {found.path} has "
                f"{found.language.dim} and scores by {found.config.model.score}: {record.remedy(path, found.path)}"
            )
        return cls(path, record, index, rows, found)

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
        parsed = [fact if isinstance(fact, Fact) else Fact.parse(fact) for fact in facts]
        vectors, mask = self.run.language.embed(parsed)
        queries = query_rows(vectors, mask, self.record.score).numpy()
        found = candidates(self.faiss, queries, k)
        return [
            self._hits(fact, *ranked(self.faiss, rows, vector[None], present, self.record.score, k))
            for fact, rows, vector, present in zip(parsed, found, vectors.numpy(), mask.numpy(), strict=True)
        ]

    def search_picture(self, path: str | Path, k: int = 10) -> list[FactHit]:
        """Return the `k` best facts of each order for the picture in a file, order 1 first; see `facts_of`."""
        return [hit for hits in self.facts_of(path, k).values() for hit in hits]

    def facts_of(self, picture: str | Path | Image.Image, k: int = 10) -> dict[int, list[FactHit]]:
        """Return which facts hold in a picture: for each order, the `k` best of all facts the run knows, best first.

        Facts of different orders are not compared, since fewer slots make higher scores. Of equal scores the fact that
        comes first in the data set is first. The picture is embedded as a whole and need not be in the index.

        Raises:
            UserError: the picture cannot be read, or k < 1.
        """
        _check_k(k)
        if not isinstance(picture, Image.Image):
            picture = read_picture(Path(picture))
        parts, scores, mask = self._scored_facts(self._embedded(picture))
        orders = mask.sum(-1)
        answer: dict[int, list[FactHit]] = {}
        for order in ORDERS:
            ids = np.flatnonzero(orders == order)
            best = ids[best_first(scores[ids], ids, k)]
            answer[order] = [
                FactHit(rank, float(scores[i]), self.facts[i], _slots(self.facts[i], parts[i]))
                for rank, i in enumerate(best.tolist(), 1)
            ]
        return answer

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts of the run's data set, of all orders.

        Raises:
            UserError: the data set could not be read when the index was made.
        """
        return read_facts(self.path, self.record)

    @cached_property
    def model(self) -> TripletModel:
        """The model that filled the index, on the CPU."""
        return self.run.load_model(self.record.model.after_task)

    def _embedded(self, picture: Image.Image) -> Array:
        pixels = self.model.encoder.view.draw(picture.convert("RGB"))
        with torch.inference_mode():
            embedding = self.model(torch.from_numpy(np.array(pixels)[None]))
        return np.asarray(gallery_rows(embedding, self.record.dim, self.record.score).numpy(), dtype=np.float64)

    def _scored_facts(self, row: Array) -> tuple[Array, Array, Array]:
        vectors, mask = (tensor.numpy() for tensor in self.run.language.embed(self.facts))
        parts = slot_parts(row, vectors, self.record.score)
        return parts, combined(parts, mask, self.record.score), mask

    def _hits(self, fact: Fact, rows: IntArray, scores: Array, parts: Array) -> list[Hit]:
        table = self.rows.take(rows)
        columns = (table["image"].to_pylist(), table["box"].to_pylist(), scores.tolist(), parts)
        return [
            Hit(rank, score, image, None if box is None else tuple(box), _slots(fact, part))
            for rank, (image, box, score, part) in enumerate(zip(*columns, strict=True), 1)
        ]


def _slots(fact: Fact, part: Array) -> dict[str, float]:
    return {slot: value for slot, present, value in zip(SLOTS, fact.mask, part.tolist(), strict=True) if present}


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"-k is {k}: ask for at least one result")


def _find_run(path: Path, record: IndexRecord, given: str | Path | RunFolder | None) -> RunFolder:
    if isinstance(given, RunFolder):
        runs = [given]
    elif given is not None:
        runs = [RunFolder(given)]
    else:
        places = [Path(record.model.run), path / record.model.run_relative]
        runs = [RunFolder(place) for place in places if (place / "run.json").is_file()]
    if not runs:
        raise UserError(
            f"the run that filled {path} is not at {record.model.run}: say where it is with `--run RUN`, or make the "
            f"index again with `mas-triplets index RUN --out {path}`"
        )
    for run in runs:
        if run.stages > 0 and run.model_fingerprint() == record.model.fingerprint:
            return run
    raise UserError(
        f"{path} was filled by another model than the one {runs[0].path} holds now (then after task "
        f"{record.model.after_task}, now after task {max(runs[0].stages, 0)}): {record.remedy(path, runs[0].path)}"
    )
