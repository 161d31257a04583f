"""Runs of methods on the small data set: what they learn from, worked out plainly, and how they are stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_run import small_config
from torch import Tensor

from mas_triplets.config import RunConfig, make_config
from mas_triplets.data.format import PARTS
from mas_triplets.data.images import read_picture
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.session import Session

ONE_BATCH = {
    "train__batch_size": 1000,
    "train__optimiser": "sgd",
    "train__momentum": 0.0,
    "train__warmup": 0.0,
    "train__schedule": "constant",
    "train__learning_rate": 0.05,
}
"""One step of plain gradient descent an epoch, over all pictures of a task."""


def config_of(home: Path, **settings: Any) -> RunConfig:
    """Return the tiny configuration with other settings."""
    return make_config(small_config(home, **settings))


def known_pairs(run: RunFolder, facts: Sequence[int]) -> dict[int, set[int]]:
    """Return the facts of these that each training picture shows, by number of the picture."""
    dataset = run.dataset()
    found: dict[int, set[int]] = {}
    for image, fact in zip(dataset.instance_image.tolist(), dataset.instance_fact.tolist(), strict=True):
        if fact in facts and dataset.image_part[image] == PARTS.index("train"):
            found.setdefault(image, set()).add(fact)
    return found


def facts_of(run: RunFolder, task: int) -> list[int]:
    """Return the facts of a task (from 1)."""
    return list(run.split(run.dataset()).tasks[task - 1].fact_ids)


def pixels_of(run: RunFolder, images: Sequence[int]) -> Tensor:
    """Return the pictures as the encoder sees them."""
    paths, view = run.dataset().paths, run.load_model(0).encoder.view
    return torch.from_numpy(np.stack([view.draw(read_picture(paths[image])) for image in images]))


def euclidean(run: RunFolder, embedding: Tensor, rows: Sequence[set[int]]) -> Tensor:
    """Return the euclidean loss of pictures that show the facts `rows`, picture by picture and slot by slot."""
    dataset = run.dataset()
    vectors, mask = run.load_model(0).language.embed(dataset.facts)
    total = torch.zeros(())
    for one, facts in zip(embedding.view(len(rows), 3, -1), rows, strict=True):
        for slot in range(3):
            targets = [vectors[fact, slot] for fact in sorted(facts) if mask[fact, slot] > 0]
            if targets:
                total = total + (one[slot] - torch.stack(targets).mean(0)).square().sum()
    return total / (2 * len(rows))


def weights(run: Path, task: int = 2) -> dict[str, Tensor]:
    """Return the model after a task."""
    return load_file(run / "tasks" / f"{task:02d}" / "model.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether the bits are the same."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class Killed(BaseException):
    """What a run is ended with."""


@contextmanager
def killed_after_saving(place: tuple[int, int, int]) -> Iterator[None]:
    """End the run that is trained within as soon as its checkpoint of (stage, step, phase) is written."""
    save = Session.save

    def saves(self: Session) -> None:
        save(self)
        if (self.state.stage, self.state.step, self.state.phase) == place:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "save", saves)
        with pytest.raises(Killed):
            yield
