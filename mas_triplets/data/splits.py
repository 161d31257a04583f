"""Splits: how the facts of a data set are dealt out to the tasks of a sequence. Every fact is in exactly one task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mas_triplets.data.format import ORDERS, PARTS
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.errors import UserError, unknown
from mas_triplets.files import read_json, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Task:
    """One task of a split: its name and the sorted fact_ids it holds."""

    name: str
    fact_ids: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """A sequence of tasks, and how it was made."""

    name: str
    method: str
    seed: int
    parameters: dict[str, Any]
    tasks: tuple[Task, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the contents of splits/NAME.json."""
        return {
            "method": self.method,
            "seed": self.seed,
            "parameters": self.parameters,
            "tasks": [{"name": task.name, "fact_ids": list(task.fact_ids)} for task in self.tasks],
        }


def make_split(
    name: str,
    method: str,
    seed: int,
    parameters: dict[str, Any],
    groups: Sequence[IntArray] | Sequence[tuple[str, IntArray]],
) -> Split:
    """Put groups of fact_ids, with or without names, together as a split.

    Raises:
        UserError: the name cannot be a file's name, or a group is empty.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot name a split: use letters, digits, '.', '_' and '-'")
    tasks = []
    for number, group in enumerate(groups, 1):
        title, ids = group if isinstance(group, tuple) else (f"task {number}", group)
        if not len(ids):
            raise UserError(f"{title} of split '{name}' has no fact: ask for fewer tasks")
        tasks.append(Task(title, tuple(np.sort(ids).tolist())))
    return Split(name, method, seed, parameters, tuple(tasks))


def write_split(dataset: PreparedDataset, split: Split, *, overwrite: bool = False) -> None:
    """Write splits/NAME.json of the data set.

    Raises:
        UserError: another split of that name is there and `overwrite` is false.
    """
    path = dataset.folder / "splits" / f"{split.name}.json"
    if path.exists() and not overwrite and read_json(path, "a split") != split.to_dict():
        raise UserError(f"{path} already holds another split: choose another --name, or pass --overwrite")
    write_json(path, split.to_dict())


def read_split(dataset: PreparedDataset, name: str) -> Split:
    """Read splits/NAME.json of the data set and check that every fact is in exactly one task.

    Raises:
        UserError: there is no such split, or it does not fit the data set.
    """
    path = dataset.folder / "splits" / f"{name}.json"
    if not path.is_file():
        there = sorted(found.stem for found in (dataset.folder / "splits").glob("*.json"))
        if there:
            raise unknown(f"split of {dataset.folder}", name, there)
        raise UserError(
            f"{dataset.folder} has no split yet: make one with "
            f"`mas-triplets split {dataset.folder} --method random --tasks 4 --name {name}`"
        )
    tree = read_json(path, "a split")
    try:
        tasks = tuple(Task(str(task["name"]), tuple(int(fact) for fact in task["fact_ids"])) for task in tree["tasks"])
        split = Split(name, str(tree["method"]), int(tree["seed"]), dict(tree["parameters"]), tasks)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} does not have the form of a split ({error!r}): make it again") from None
    listed = sorted(fact for task in tasks for fact in task.fact_ids)
    if listed != list(range(len(dataset.facts))) or not all(task.fact_ids for task in tasks):
        raise UserError(
            f"{path} does not hold every fact of {dataset.folder} exactly once: it was made for another data set, "
            "make it again"
        )
    return split


def split_summary(dataset: PreparedDataset, split: Split) -> list[dict[str, Any]]:
    """Return what each task got: facts by order, pictures of each part, and facts without a training picture."""
    orders = np.array([fact.order for fact in dataset.facts])
    per_fact = dataset.fact_counts()
    rows = []
    for task in split.tasks:
        ids = np.array(task.fact_ids)
        images = np.unique(dataset.instance_image[np.isin(dataset.instance_fact, ids)])
        parts = np.bincount(dataset.image_part[images], minlength=len(PARTS))
        rows.append(
            {
                "task": task.name,
                "facts": len(ids),
                **{f"order {order}": int((orders[ids] == order).sum()) for order in ORDERS},
                **{f"{part} images": int(parts[code]) for code, part in enumerate(PARTS)},
                "facts without a training image": int((per_fact[0, ids] == 0).sum()),
                "example": str(dataset.facts[task.fact_ids[0]]),
            }
        )
    return rows
