"""Class means: a fact is the mean feature of its pictures. The simplest learner that cannot forget."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task
from mas_triplets.model.triplet import TripletModel


class ClassMeans(Strategy):
    """Keeps the sum of the features of each fact's pictures, and of all pictures; nothing is trained.

    The score of a picture x for a fact f is cos(x - m, m_f - m), with m_f the mean feature of the pictures of f and m
    that of all pairs seen (Mensink et al., "Distance-based image classification", PAMI 2013; Janson et al., "A simple
    baseline that questions the use of pretrained models in continual learning", 2022). No language is used, so a fact
    never seen has no score; a query with a wild card asks for the mean over all facts seen that fit it.
    """

    name = "class-means"
    closed_form = True
    first_task_is_plain = False
    needs_boundaries = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sums: dict[int, Tensor] = {}  # fact_id -> (features + 1,), the last is the count
        self._centre: Tensor | None = None  # the same over all pairs

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Add the task's pictures to the sums."""
        assert isinstance(model, TripletModel)
        width = model.encoder.features * model.encoder.branches
        total = torch.zeros(len(task.fact_ids), width + 1, dtype=torch.float64, device=task.vectors.device)
        with torch.no_grad():
            for inputs, relevance in task.labelled():
                rows = model.features(inputs).flatten(1).double()
                total += relevance.double().T @ torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        if self.combine is not None:
            total = self.combine(total)
        for fact, row in zip(task.fact_ids.tolist(), total, strict=True):
            self._sums[fact] = self._sums[fact] + row if fact in self._sums else row
        self._centre = total.sum(0) if self._centre is None else self._centre + total.sum(0)
        return {}

    def fact_vectors(self) -> dict[str, Tensor]:
        """Return `fact_ids` (m,), their `vectors` m_f (m, features), `counts` (m,), and `centre` m (features,)."""
        if self._centre is None:
            return {}
        seen = [fact for fact in sorted(self._sums) if self._sums[fact][-1] > 0]
        sums = torch.stack([self._sums[fact] for fact in seen])
        return {
            "fact_ids": torch.tensor(seen),
            "vectors": (sums[:, :-1] / sums[:, -1:]).float(),
            "counts": sums[:, -1].float(),
            "centre": (self._centre[:-1] / self._centre[-1]).float(),
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the sums."""
        if self._centre is None:
            return {}
        facts = sorted(self._sums)
        return {
            "fact_ids": torch.from_numpy(np.array(facts)),
            "sums": torch.stack([self._sums[fact] for fact in facts]),
            "centre": self._centre,
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._centre = tensors.get("centre")
        self._sums = dict(zip(tensors["fact_ids"].tolist(), tensors["sums"], strict=True)) if tensors else {}
