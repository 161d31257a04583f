"""What is asked of a file of word vectors and what it answers, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.errors import UserError
from mas_triplets.model.texts.encoder import Vectors

LONGEST_LINE = 1 << 20
"""Bytes of a line or a word beyond which a file holds something else; 300 numbers take about 2,500."""
_LARGEST = 1e6


@dataclass(frozen=True)
class Wanted:
    """What is asked of a file.

    Attributes:
        words: words to be looked up, as they are written in the file.
        composed: words that may be put together from parts, where the file can and has not the word itself.
        seen: is told now and then how many bytes have been read.
    """

    words: Set[str]
    composed: Set[str] = frozenset()
    seen: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Found:
    """What a file knows of it.

    Attributes:
        dim: numbers of a vector.
        known: vectors of words that are in the file.
        composed: vectors put together from parts of words.
    """

    dim: int
    known: dict[str, Vectors] = field(default_factory=dict)
    composed: dict[str, Vectors] = field(default_factory=dict)


def checked(vector: npt.NDArray[np.floating[Any]], where: str) -> Vectors:
    """Return `vector` as float32 if all its numbers can be those of a word.

    Raises:
        UserError: one is no number, infinite, or far too large.
    """
    wrong = vector[~(np.abs(vector) < _LARGEST)]  # NaN is not smaller either
    if wrong.size:
        raise UserError(f"{where} holds {wrong[0]:g}, which no word vector does: the file is damaged, fetch it anew")
    return vector.astype(np.float32)
