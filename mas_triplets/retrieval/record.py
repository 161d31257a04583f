"""What index.json says of an index."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from mas_triplets.retrieval.kinds import KindName
from mas_triplets.retrieval.scores import ScoreKind

SCHEMA: Final = "mas_triplets_index/2"
"""Version of the format, written in index.json."""


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelRecord(_Node):
    """The newest model that filled an index; rows of older ones have another `model_version`."""

    fingerprint: str
    run: str
    """The run's folder, absolute."""
    run_relative: str
    """The same from the index folder, for both to be moved together."""
    after_task: int


class PicturesRecord(_Node):
    """What an index was filled with."""

    place: str
    kind: Literal["folder", "data set"]
    region: Literal["image", "box"]
    own: bool
    """Whether it is the run's own data set."""
    pictures: int
    skipped: int
    added: tuple[str, ...] = ()
    """Places from which pictures were added later."""


class SearchRecord(_Node):
    """How queries with certain parts are answered."""

    parameters: dict[str, int] | None
    """Of the approximate search; null where every row is compared."""
    recall: dict[int, float]
    """k -> share of the k truly best rows that a search for k finds, on held-out queries."""
    queries: int
    """How many were held out."""
    reason: str


class FileRecord(_Node):
    """One of the other files."""

    bytes: int
    sha256: str


class IndexRecord(_Node):
    """The contents of index.json."""

    format: Literal["mas_triplets_index/2"]
    generation: int
    """Counts how often the index was written."""
    kind: KindName
    reason: str
    asked_kind: str
    """The kind asked for, which may be `auto`."""
    wanted_recall: float
    memory: int
    """Bytes that index.faiss may take while it is searched."""
    recall: float
    """Share of the ten truly best rows that a search finds, the least of all masks; 1 if exact."""
    recall_measured: str
    search: dict[str, SearchRecord]
    """For the name of each mask."""
    measured_rows: int
    """How many rows there were when recall was measured."""
    trained_rows: int
    """How many there were when groups and codes were learnt."""
    rows: int
    numbers_per_row: int
    score: ScoreKind
    parts: tuple[str, ...]
    """Names of the parts of a score: the slots, or `fact` for class means."""
    dim: int
    """Numbers a part, D."""
    model: ModelRecord
    pictures: PicturesRecord
    versions: dict[str, str]
    files: dict[str, FileRecord]

    def remedy(self, out: Path, run: Path | None = None) -> str:
        """Return the sentence part that says how to fill the index again."""
        said = ["mas-triplets", "index", str(run or self.model.run)]
        said += [] if self.pictures.own else ["--images", self.pictures.place]
        said += ["--out", str(out), *([] if self.asked_kind == "auto" else ["--kind", self.asked_kind])]
        added = f", then add {' and '.join(self.pictures.added)} again" if self.pictures.added else ""
        return f"fill it again with `{shlex.join(said)}`{added}"
