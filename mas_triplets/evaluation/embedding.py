"""The raw embeddings of items that can be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.model.inputs import BATCH, ItemInputs
from mas_triplets.progress import Silent

Embed = Callable[[Tensor], Tensor]
"""What a model is fed, (n, ...) -> raw embeddings (n, 3D)."""


def embed_items(model: Embed, inputs: ItemInputs, items: IntArray) -> tuple[IntArray, Tensor]:
    """Return the places in `items` of those that can be read, and their raw embeddings (n, 3D), on the CPU."""
    places: list[IntArray] = []
    rows: list[Tensor] = []
    with torch.no_grad():
        for start, (positions, batch) in zip(range(0, len(items), BATCH), inputs.batches(items, BATCH), strict=True):
            places.append(positions + start)
            if len(batch):
                rows.append(model(batch).cpu())
    if not rows:
        return np.empty(0, dtype=np.int64), torch.zeros(0, 3)
    return np.concatenate(places), torch.cat(rows)


def report_unreadable(inputs: ItemInputs, left: int, progress: Silent) -> None:
    """Tell how many pictures cannot be read.

    Raises:
        UserError: none of the pictures is `left`.
    """
    first = next(iter(inputs.unreadable.values()))
    progress.note(f"{len(inputs.unreadable)} pictures cannot be read and are in no gallery; the first: {first}")
    if not left:
        raise UserError(f"none of the pictures to evaluate on can be read; the first: {first}")
