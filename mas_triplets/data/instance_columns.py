"""The instances of a data set while it is collected: columns of numbers, not an object a record.

A data set may have millions of instances. An instance takes some 80 bytes: the numbers of its picture and its fact, its
two boxes in single precision, as they are stored, and its source as text in Arrow's memory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mas_triplets.data.boxes import Box
from mas_triplets.files import storable

Numbers = npt.NDArray[np.integer[Any]]

_ABSENT: Box = (-np.inf, -np.inf, -np.inf, -np.inf)  # sorts before every box
_DIGITS = re.compile(r"\d+")
_CHUNK = 1 << 16  # sources that are kept as Python's text before they go to Arrow


@dataclass(frozen=True)
class Instances:
    """N instances in columns.

    Attributes:
        image: (N,) number of the picture.
        fact: (N,) number of the fact.
        boxes: (N, 8) box of the subject and of the object, pixels; -inf where there is none.
        source: (N,) file and record.
    """

    image: npt.NDArray[np.int32]
    fact: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float32]
    source: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Numbers | npt.NDArray[np.bool_]) -> Instances:
        """Return the rows of that number, or those marked, in their order."""
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        return Instances(self.image[rows], self.fact[rows], self.boxes[rows], self.source.take(pa.array(rows)))

    def rows(self) -> Iterator[tuple[int, int, str]]:
        """Yield picture, fact and source of each."""
        return zip(self.image.tolist(), self.fact.tolist(), self.source.to_pylist(), strict=True)

    def sorted(self, image_rank: Numbers, fact_rank: Numbers) -> tuple[Instances, npt.NDArray[np.bool_]]:
        """Return the instances by picture, fact, boxes and source, and which of them repeat the one before.

        Args:
            image_rank: place of each picture's name in the alphabet.
            fact_rank: place of each fact in the order of facts.
        """
        key = image_rank[self.image] * max(len(fact_rank), 1) + fact_rank[self.fact]
        order = np.lexsort((*self.boxes.T[::-1], key))
        same = np.zeros(len(self), dtype=np.bool_)
        same[1:] = (key[order][1:] == key[order][:-1]) & (self.boxes[order][1:] == self.boxes[order][:-1]).all(axis=1)
        alike = same.copy()
        alike[:-1] |= same[1:]  # the first of each group too: among equals the source decides
        places = np.flatnonzero(alike)
        if len(places):
            sources = [_natural(source) for source in self.source.take(pa.array(order[places])).to_pylist()]
            tied = pa.table({"group": np.cumsum(~same)[places], "source": sources})
            by_source = pc.sort_indices(tied, sort_keys=[("group", "ascending"), ("source", "ascending")]).to_numpy()
            order[places] = order[places][by_source]
        return self.take(order), same


@dataclass
class InstanceColumns:
    """Takes instances one at a time."""

    _image: array[int] = field(default_factory=lambda: array("i"))
    _fact: array[int] = field(default_factory=lambda: array("i"))
    _boxes: array[float] = field(default_factory=lambda: array("f"))
    _waiting: list[str] = field(default_factory=list)
    _sources: list[pa.Array] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._image)

    def add(self, image: int, fact: int, subject_box: Box | None, object_box: Box | None, source: str) -> None:
        """Add an instance: the numbers of its picture and fact, its boxes, where it was read."""
        self._image.append(image)
        self._fact.append(fact)
        self._boxes.extend(subject_box or _ABSENT)
        self._boxes.extend(object_box or _ABSENT)
        self._waiting.append(storable(source))
        if len(self._waiting) == _CHUNK:
            self._to_arrow()

    def taken(self) -> Instances:
        """Return all instances; nothing may be added after that."""
        self._to_arrow()
        return Instances(
            np.frombuffer(self._image, dtype=np.int32),
            np.frombuffer(self._fact, dtype=np.int32),
            np.frombuffer(self._boxes, dtype=np.float32).reshape(-1, 8),
            pa.chunked_array(self._sources, type=pa.string()),
        )

    def _to_arrow(self) -> None:
        self._sources.append(pa.array(self._waiting, type=pa.string()))
        self._waiting = []


def _natural(source: str) -> str:
    """Return a source so that the text order is the order of records: record 2 before record 13."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(12), source)


def joined(first: Instances, second: Instances) -> Instances:
    """Return the instances of both."""
    return Instances(
        np.concatenate([first.image, second.image]),
        np.concatenate([first.fact, second.fact]),
        np.concatenate([first.boxes, second.boxes]),
        pa.chunked_array([*first.source.chunks, *second.source.chunks], type=pa.string()),
    )


def distinct_pairs(instances: Instances) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return picture and fact of each distinct pair of them, of instances that are sorted."""
    new = np.ones(len(instances), dtype=np.bool_)
    new[1:] = (np.diff(instances.image) != 0) | (np.diff(instances.fact) != 0)
    return instances.image[new], instances.fact[new]


def stored_boxes(boxes: npt.NDArray[np.float32]) -> pa.Array:
    """Return (N, 4) boxes as the column of a table, null where there is none."""
    absent = np.isneginf(boxes[:, 0])
    flat = pa.array(np.where(absent[:, None], np.float32(0), boxes).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, 4, mask=pa.array(absent))


def enclosing_boxes(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, 4) the smallest box around both boxes of each of (N, 8); an absent one does not count."""
    first, second = boxes[:, :4], boxes[:, 4:]
    around = np.concatenate([np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])], axis=1)
    one = np.where(np.isneginf(first[:, :1]), second, first)
    return np.where(np.isneginf(boxes[:, :1]) | np.isneginf(boxes[:, 4:5]), one, around)
