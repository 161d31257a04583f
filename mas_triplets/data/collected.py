"""The pictures and the facts of a data set while it is collected: each has a number, in the order they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mas_triplets.facts import Fact

IntArray = npt.NDArray[np.int64]


@dataclass(slots=True)
class CollectedImage:
    """A picture: the columns of images.parquet but its name; its part is None while it is not known."""

    file_name: str
    width: int | None
    height: int | None
    part: str | None
    source_id: str | None
    licence: str | None
    url: str | None
    sha256: str | None


@dataclass
class CollectedImages:
    """Pictures by name.

    Attributes:
        names: of every picture that an instance or `put` has named, by number.
        found: what is known of each picture that was put.
    """

    names: list[str] = field(default_factory=list)
    found: dict[str, CollectedImage] = field(default_factory=dict)
    _number: dict[str, int] = field(default_factory=dict)

    def put(self, name: str, image: CollectedImage) -> None:
        """Add a picture, or put it in the place of one of that name."""
        self.number(name)
        self.found[name] = image

    def number(self, name: str) -> int:
        """Return the number of a picture; the next one if it has none yet."""
        number = self._number.get(name)
        if number is None:
            number = self._number[name] = len(self.names)
            self.names.append(name)
        return number

    def parts(self) -> list[str | None]:
        """Return the part of each picture, by number."""
        return [self.found[name].part for name in self.names]

    def ranks(self) -> IntArray:
        """Return the place of each picture, by number, among all names sorted."""
        return _ranks(sorted(range(len(self.names)), key=self.names.__getitem__))


@dataclass
class CollectedFacts:
    """Facts with the original forms of their words.

    Attributes:
        facts: by number.
    """

    facts: list[Fact] = field(default_factory=list)
    _number: dict[Fact, int] = field(default_factory=dict)
    _wording: list[str] = field(default_factory=list)
    _others: dict[int, set[str]] = field(default_factory=dict)
    _ranks: IntArray | None = None

    def number(self, fact: Fact, words: Sequence[str | None]) -> int:
        """Return the number of a fact, and note the original words of its slots."""
        wording = "<" + ", ".join([word for word in words if word]) + ">"
        number = self._number.get(fact)
        if number is None:
            number = self._number[fact] = len(self.facts)
            self.facts.append(fact)
            self._wording.append(wording)
            self._ranks = None
        elif self._wording[number] != wording:  # nearly every fact is written in one way
            self._others.setdefault(number, set()).add(wording)
        return number

    def wordings(self, number: int) -> list[str]:
        """Return the original forms of a fact, sorted."""
        return sorted({self._wording[number], *self._others.get(number, ())})

    def ranks(self) -> IntArray:
        """Return the place of each fact, by number, among all facts in their order."""
        if self._ranks is None:
            keys = [fact.sort_key for fact in self.facts]
            self._ranks = _ranks(sorted(range(len(keys)), key=keys.__getitem__))
        return self._ranks


def _ranks(order: list[int]) -> IntArray:
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
