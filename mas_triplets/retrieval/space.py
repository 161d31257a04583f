"""What pictures and facts are compared by in an index: heads and words, or for class means features and their means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.triplet import TripletModel, gallery_rows
from mas_triplets.retrieval.scores import ScoreKind
from mas_triplets.training.run_folder import RunFolder


class FactSpace(ABC):
    """How a run's model compares pictures with facts, part by part.

    Attributes:
        parts: names of the parts of a score, S of them.
        dim: numbers a part, D.
        score: how a part's numbers are compared.
    """

    parts: tuple[str, ...]
    dim: int
    score: ScoreKind

    @abstractmethod
    def embed(self, facts: Sequence[Fact]) -> tuple[Tensor, Tensor]:
        """Return the embeddings of facts (M, S, D), float32, and which parts each has (M, S), 0 or 1.

        Raises:
            UserError: a fact cannot be asked for; the sentence names what could be.
        """

    @abstractmethod
    def rows(self, model: TripletModel, inputs: Tensor) -> Tensor:
        """Return the rows (n, numbers per row), float32, of pictures given as `TripletModel.forward` takes them."""

    def known(self, facts: Sequence[Fact]) -> IntArray:
        """Return the positions of those facts that can be looked for in a picture: all of them."""
        return np.arange(len(facts))


class WordSpace(FactSpace):
    """Slot embeddings of pictures against the language embeddings of words."""

    parts = SLOTS

    def __init__(self, language: LanguageTable, score: ScoreKind) -> None:
        self._language = language
        self.dim, self.score = language.dim, score

    def embed(self, facts: Sequence[Fact]) -> tuple[Tensor, Tensor]:
        """Return the language embeddings of facts and their masks: see `FactSpace.embed`."""
        return self._language.embed(facts)

    def rows(self, model: TripletModel, inputs: Tensor) -> Tensor:
        """Return `gallery_rows` of the embeddings of pictures."""
        return gallery_rows(model(inputs), self.dim, self.score)


class MeanSpace(FactSpace):
    """Centred features of pictures against the centred mean features of the pictures of each fact: class means.

    A fact that was seen is its own mean; a pattern that is none, such as <*, ride, *>, is the mean over all (picture,
    fact) pairs whose fact fits it.
    """

    parts = ("fact",)
    score = "cosine"

    def __init__(self, facts: Sequence[Fact], held: dict[str, Tensor]) -> None:
        """Take the facts of the run's data set, by fact_id, and what `ClassMeans.fact_vectors` gave."""
        self._centre = held["centre"]
        self._seen = {facts[fact]: row for row, fact in enumerate(held["fact_ids"].tolist())}
        self._sums = held["vectors"] * held["counts"][:, None]
        self._counts = held["counts"]
        self.dim = len(self._centre)

    def embed(self, facts: Sequence[Fact]) -> tuple[Tensor, Tensor]:
        """Return the centred means of facts or patterns, of unit length (M, 1, D), and ones (M, 1)."""
        vectors = torch.stack([self._mean(fact) for fact in facts]) if facts else torch.empty(0, self.dim)
        centred = torch.nn.functional.normalize(vectors - self._centre, dim=1)
        return centred[:, None], torch.ones(len(facts), 1)

    def rows(self, model: TripletModel, inputs: Tensor) -> Tensor:
        """Return centred features of unit length, (n, features)."""
        features = model.features(inputs).flatten(1).float()
        return torch.nn.functional.normalize(features - self._centre.to(features.device), dim=1)

    def known(self, facts: Sequence[Fact]) -> IntArray:
        """Return the positions of the facts that were seen."""
        return np.array([place for place, fact in enumerate(facts) if fact in self._seen], dtype=np.int64)

    def _mean(self, fact: Fact) -> Tensor:
        rows = [self._seen[fact]] if fact in self._seen else self._fitting(fact)
        if not rows:
            near = nearest(str(fact), [str(one) for one in self._seen])
            raise UserError(
                f"no picture of {fact} was learnt from, and class means know facts by their pictures alone: ask for "
                f"one that was, such as {near[0] if near else next(iter(self._seen))}, or put * in a slot"
            )
        return self._sums[rows].sum(0) / self._counts[rows].sum()

    def _fitting(self, pattern: Fact) -> list[int]:
        return [
            row
            for fact, row in self._seen.items()
            if all(wanted in (None, text) for wanted, text in zip(pattern.slots, fact.slots, strict=True))
        ]


def space_of(run: RunFolder, stage: int, facts: Sequence[Fact] | None) -> FactSpace:
    """Return how the model of a stage of a run compares pictures with facts.

    Args:
        run: the run.
        stage: from 1, or 0 for the untrained model.
        facts: of the run's data set, by fact_id; None where they are not known.

    Raises:
        UserError: the run knows facts by number alone, and they are not known.
    """
    held = run.fact_vectors(stage)
    if not held:
        return WordSpace(run.language, run.config.model.score)
    if facts is None:
        raise UserError(
            f"{run.path} was learnt with class means, which know facts by their number in the data set, and "
            f"{run.config.data.path} cannot be read: put it back"
        )
    if "counts" not in held:
        raise UserError(f"the class means of {run.path} are of an earlier version: train it again")
    return MeanSpace(facts, held)
