"""Galleries that are not embedded anew: each picture keeps a vector that an earlier model gave it.

Under `kept` a picture's vector is of the model that had just learnt the first task it belongs to: what an index that is
only added to would hold. The version of a vector then tells which task its picture is of, so scores within the one
gallery of all tasks show more than memory. `kept_random` is the control: the version of each picture is drawn evenly
from all models so far, whatever its task. Each takes one array beside the present vectors, for any number of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.data.prepared import IntArray


@dataclass(frozen=True)
class OldVectors:
    """The vectors of both galleries after some stage.

    Attributes:
        kept: (n, 3D) of the model that first knew a task of the picture; 0 for pictures of later tasks.
        kept_random: (n, 3D) of a model drawn evenly from those so far.
        known: (n,) whether a task of the picture has been learnt.
    """

    kept: Tensor
    kept_random: Tensor
    known: npt.NDArray[np.bool_]

    @classmethod
    def none_yet(cls, embedding: Tensor) -> OldVectors:
        """Return what is kept before anything is learnt, for as many vectors as `embedding` (n, 3D) has."""
        zeros = torch.zeros_like(embedding)
        return cls(zeros, zeros, np.zeros(len(embedding), dtype=np.bool_))

    def after(self, embedding: Tensor, seen: npt.NDArray[np.bool_], switch: npt.NDArray[np.bool_]) -> OldVectors:
        """Return what is kept after one more stage.

        Args:
            embedding: (n, 3D) the vectors of the present model.
            seen: (n,) whether the picture belongs to a task learnt so far.
            switch: (n,) which pictures take the present vector as their random one: `switches`.
        """
        new = torch.from_numpy(seen & ~self.known)[:, None]
        kept = torch.where(new, embedding, self.kept)
        kept_random = torch.where(torch.from_numpy(switch)[:, None], embedding, self.kept_random)
        return OldVectors(kept, kept_random, self.known | seen)

    def only(self, rows: IntArray) -> OldVectors:
        """Return those of the pictures `rows`."""
        chosen = torch.from_numpy(rows)
        return OldVectors(self.kept[chosen], self.kept_random[chosen], self.known[rows])


def switches(seed: int, stage: int, items: int) -> npt.NDArray[np.bool_]:
    """Return (items,) which items take the present vector after a stage, counted from 1: each with chance 1/stage.

    With this chance at every stage, after stage T each of the T versions is equally likely (a reservoir of one; Vitter,
    "Random sampling with a reservoir", 1985), so no vector of an earlier stage has to be kept for a later draw. The
    same seed and stage give the same bits.

    >>> switches(0, 1, 4).tolist()   # at the first stage there is nothing else to keep
    [True, True, True, True]
    """
    return np.random.default_rng((seed, stage)).random(items) * stage < 1
