"""How far the vectors of a gallery that is not embedded anew are from what the present model would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.ranking import mean_over_queries

Row = list[float | None]


def slot_drift(kept: Tensor, present: Tensor) -> Tensor:
    """Return (n,) float64, 1 - mean over the three slots of cos(kept slot, present slot), in [0, 2].

    Computed as half of the squared distance of the unit vectors, which is the same and exactly 0 where nothing moved.
    A slot of length zero counts 0 to another such and 1/2 to any other.

    Args:
        kept: (n, 3D) raw vectors.
        present: (n, 3D) raw vectors of the same pictures.

    Of one picture, D = 2: S is turned by a right angle, P is turned round, O is only longer: (1 + 2 + 0) / 3.

    >>> slot_drift(torch.tensor([[1.0, 0, 0, 1, 1, 1]]), torch.tensor([[0.0, 3, 0, -1, 2, 2]])).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    before, after = (
        torch.nn.functional.normalize(vectors.double().reshape(len(vectors), 3, -1), dim=-1)
        for vectors in (kept, present)
    )
    return ((before - after).square().sum(-1) / 2).mean(1)


def drift_row(kept: Tensor, present: Tensor, rows_of_tasks: Sequence[IntArray | None]) -> Row:
    """Return the mean drift over the pictures of each task; None for a task not learnt yet, or without pictures.

    Args:
        kept: (n, 3D) raw vectors.
        present: (n, 3D) raw vectors.
        rows_of_tasks: the rows of each task's pictures; None for a task not learnt yet.
    """
    drift = slot_drift(kept, present)
    return [None if rows is None else mean_over_queries(drift[torch.from_numpy(rows)])[0] for rows in rows_of_tasks]


def drift_record(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the record of results.json: the matrix (T, T), and its last row's mean over the tasks before the last.

    >>> record = drift_record([[0.0, None], [0.5, 0.0]])
    >>> record["matrix"], record["average"]
    ([[0.0, None], [0.5, 0.0]], 0.5)
    """
    earlier = [value for value in rows[-1][:-1] if value is not None]
    return {
        "definition": definition("drift"),
        "matrix": [list(row) for row in rows],
        "average": sum(earlier) / len(earlier) if earlier else None,
    }
