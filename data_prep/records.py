"""What a reader of a source yields. It knows its source's files and nothing else; `assemble.py` does the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from mas_triplets.data.boxes import Box
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split
from mas_triplets.progress import Silent


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the source.

    Attributes:
        image_id: its name in the data set, and what labels call it by.
        file: its file's name, or path under the pictures' folder, as the source says; found by its stem.
        part: train, val or test; None where the source does not say.
        source: file and record it was read from.
        size: (width, height) in pixels as the source says; None where it does not.
        origin: what tells it from every other picture in the world ("coco:9"), so that one that is there twice, under
            two names, is noticed.
        url: where it can be had.
        licence: its own, where the source says.
        path: its file, where the reader knows it; else it is looked for by `file`.
    """

    image_id: str
    file: str
    part: str | None
    source: str
    size: tuple[int, int] | None = None
    origin: str | None = None
    url: str | None = None
    licence: str | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A fact that holds in a picture.

    Attributes:
        image_id: of its picture.
        words: subject, predicate, object as the source writes them; None for a slot the fact does not have.
        source: file and record it was read from.
        subject_box: [x1, y1, x2, y2], pixels, 0-based, half-open, not yet clipped; None where there is none.
        object_box: the same of the object.
    """

    image_id: str
    words: tuple[str, str | None, str | None]
    source: str
    subject_box: Box | None = None
    object_box: Box | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that gives neither, with one of the reasons of the format."""

    source: str
    reason: str
    detail: str


@dataclass(frozen=True)
class About:
    """What is known of a source.

    Attributes:
        licence: of the annotations and the pictures.
        citation: the paper to cite.
        notes: sentences for the card.
        published: number of pictures in train, val, test, or in "all", where the authors tell.
        published_relations: number of relations, as their files have them, likewise.
        images: folder of the pictures, where the source itself holds them.
        passes: how often `labels` goes through the pictures, where it reads several files of them one after another.
    """

    licence: str
    citation: str
    notes: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict)
    published_relations: Mapping[str, int] = field(default_factory=dict)
    images: Path | None = None
    passes: int = 1


class Reader(Protocol):
    """Reads one source. Both iterators may be asked for once, pictures first."""

    about: About
    files: list[Path]
    """The source files read, for the record."""

    def pictures(self) -> Iterable[Picture | Rejected]:
        """Yield every picture of the source."""

    def labels(self) -> Iterable[Label | Rejected]:
        """Yield every fact of its pictures."""


@runtime_checkable
class LocatesPictures(Protocol):
    """A reader that finds its pictures' files by itself."""

    def take_folder(self, folder: Path) -> None:
        """Take the folder of the pictures, before `pictures` is asked for."""


@runtime_checkable
class BringsSplit(Protocol):
    """A reader whose source deals the facts out to tasks."""

    def split(self, dataset: PreparedDataset, progress: Silent) -> Split:
        """Return the tasks as a split of the data set that was made from this reader, after `labels` has ended."""


@runtime_checkable
class WantsSizes(Protocol):
    """A reader whose boxes are shares of the picture's sides, which its files may not tell."""

    def take_sizes(self, sizes: Mapping[str, tuple[int, int] | None]) -> None:
        """Take the (width, height) of each usable picture, None where it is not known, before `labels` is asked for."""
