"""What a text encoder is: the texts of one slot in, one vector a text out. It is never learnt."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mas_triplets.progress import SILENT, Silent

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of texts.

    Attributes:
        vectors: (N, numbers), one row a text.
        unknown: the texts it knows nothing of, whose vectors are made up.
        remarks: what was done with texts that are known in part, as sentences without a full stop.
    """

    vectors: Vectors
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class TextEncoder(Protocol):
    """What turns texts into vectors. Making one is cheap: files are opened when they are first needed.

    Attributes:
        makes_up: whether all its vectors are made up on purpose.
        per_slot: whether a text has another vector in another slot.
    """

    makes_up: bool
    per_slot: bool

    @property
    def name(self) -> str:
        """What it is called in files and messages."""
        ...

    def encode(self, texts: Sequence[str], slot: str = "subject", progress: Silent = SILENT) -> Encoded:
        """Return the vectors of texts that stand in one slot (`subject`, `predicate` or `object`)."""
        ...

    def fingerprint(self) -> str:
        """Name all that its vectors depend on, files by size and time: what is computed once is kept under this."""
        ...


def made_up(text: str, dim: int) -> Vectors:
    """Return a vector of `dim` random normal numbers that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def usual_scale(vectors: Sequence[Vectors] | Vectors) -> float:
    """Return the factor that makes a made-up vector as long as the known ones are on average; 1 if there are none."""
    if not len(vectors):
        return 1.0
    dim: int = vectors[0].size
    return float(np.mean([np.linalg.norm(vector) for vector in vectors])) / math.sqrt(dim)
