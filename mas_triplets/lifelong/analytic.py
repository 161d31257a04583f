"""Heads in closed form: ridge regression from features to the language embeddings of the facts, kept as sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.facts import SLOTS
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task
from mas_triplets.model.triplet import BRANCH, TripletModel

_LEAST = 1e-6  # deviation, as a share of the feature's mean or of the usual one, of a feature that never changes


class Analytic(Strategy):
    """W = (X'X + r I)^-1 X'Y for each slot, over all (picture, fact) pairs of all tasks seen.

    X are the pictures' features, what the heads take, with mean 0 and deviation 1 over the pairs seen; Y the language
    embeddings of the slot, with `model.residual` less the features that the head's output is added to. Only sums are
    kept: n, sum x, sum y, X'X, X'Y, in float64. They do not depend on the order of the tasks, so learning task after
    task gives the weights of learning all at once: there is nothing to forget (Zhuang et al., "ACIL: Analytic
    Class-Incremental Learning", NeurIPS 2022; "RanPAC", NeurIPS 2023).

    This is exact where the features stay what they are: a frozen encoder with no trunk (`model.hidden: []`). With a
    trunk, which stays as it was drawn, it is a fixed random expansion of features that are standardised by the first
    task's pictures: the same in any order of the later tasks. Joined with a method that trains (`mas+analytic`), the
    sums of earlier tasks are those of earlier features.
    """

    name = "analytic"
    reads = ("ridge",)
    tuned = {"lifelong.ridge": (0.1, 0.3, 1, 3, 10, 30)}  # noqa: RUF012
    closed_form = True
    settles = True
    first_task_is_plain = False
    needs_boundaries = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sums: dict[str, Tensor] = {}

    def memory_bytes(self, model: nn.Module) -> int:
        """Return the size of the sums."""
        assert isinstance(model, TripletModel)
        width = model.head_width
        return 8 * len(SLOTS) * (1 + width + model.dim + width * (width + model.dim))

    def after_task(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Add the task's pairs to the sums and put the solution into the heads."""
        assert isinstance(model, TripletModel)
        new = self._sums_of(model, task)
        if self.combine is not None:
            new = {name: self.combine(value) for name, value in new.items()}
        self._sums = {name: value + self._sums[name] if self._sums else value for name, value in new.items()}
        with torch.no_grad():
            for slot in SLOTS:
                head = model.heads[slot]
                assert isinstance(head, nn.Linear)
                if float(self._sums[f"{slot}/n"]) > 0:
                    weight, bias = solution(self._of(slot), self.config.ridge)
                    head.weight.copy_(weight)
                    head.bias.copy_(bias)
        return {}

    def _sums_of(self, model: TripletModel, task: Task) -> dict[str, Tensor]:
        width, device = model.head_width, task.vectors.device
        shapes: dict[str, tuple[int, ...]] = {
            "n": (),
            "x": (width,),
            "y": (model.dim,),
            "xx": (width, width),
            "xy": (width, model.dim),
        }
        sums = {
            f"{slot}/{name}": torch.zeros(shape, dtype=torch.float64, device=device)
            for slot in SLOTS
            for name, shape in shapes.items()
        }
        with torch.no_grad():
            for inputs, relevance in task.labelled():
                given = model.features(inputs)
                hidden = model.hidden(given)
                for number, slot in enumerate(SLOTS):
                    x = hidden[BRANCH[slot]].double()
                    holds = (relevance * task.mask[:, number]).double()  # (n, M), the pairs that have this slot
                    y = holds @ task.vectors[:, number].double()
                    count = holds.sum(1, keepdim=True)
                    if model.config.residual:  # the head gives what is to be added to the features
                        y = y - count * (given if given.ndim == 2 else given[:, BRANCH[slot]]).double()
                    sums[f"{slot}/n"] += count.sum()
                    sums[f"{slot}/x"] += (count * x).sum(0)
                    sums[f"{slot}/y"] += y.sum(0)
                    sums[f"{slot}/xx"] += x.T @ (count * x)
                    sums[f"{slot}/xy"] += x.T @ y
        return sums

    def _of(self, slot: str) -> dict[str, Tensor]:
        return {name: self._sums[f"{slot}/{name}"] for name in ("n", "x", "y", "xx", "xy")}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the sums."""
        return dict(self._sums)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        self._sums = dict(tensors)


def solution(sums: dict[str, Tensor], ridge: float) -> tuple[Tensor, Tensor]:
    """Return weight (D, H) and bias (D,) of the ridge regression that the sums of one slot describe.

    Args:
        sums: n, the number of pairs; x (H,) and y (D,), sums of features and targets; xx (H, H) and xy (H, D), sums of
            x x' and x y'; float64.
        ridge: r / n. With 0 it would be least squares; the larger, the nearer all pictures are to the mean target.

    Example: x = -1, 1 and y = -2, 2 have n = 2, X'X = 2, X'Y = 4; ridge 1 gives the weight 4 / (2 + 2) = 1, bias 0.
    """
    n, mean_x, mean_y = sums["n"], sums["x"] / sums["n"], sums["y"] / sums["n"]
    covariance = sums["xx"] / n - torch.outer(mean_x, mean_x)
    spread = covariance.diagonal().clamp_min(0).sqrt()
    usual = spread.mean()
    # what never changed says nothing, and must not become a million when it does
    scale = torch.where(spread > _LEAST * torch.maximum(mean_x.abs(), usual), 1 / spread, 0.0)
    left = covariance * scale[:, None] * scale
    left.diagonal().add_(ridge)
    right = (sums["xy"] / n - torch.outer(mean_x, mean_y)) * scale[:, None]
    weight = torch.linalg.solve(left, right) * scale[:, None]
    return weight.T, mean_y - mean_x @ weight
