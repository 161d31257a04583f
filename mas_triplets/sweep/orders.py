"""Orders of tasks: new splits made alike with other seeds, or the tasks of one split in other orders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, write_split
from mas_triplets.errors import UserError
from mas_triplets.model.splitting import split_dataset

Vary = Literal["split", "order"]
_LISTED = 7  # tasks of which all orders are listed; of more, two equal ones are too unlikely to matter
_SEEDED = ("random", "slot")


def what_varies(split: Split, wanted: Vary | None) -> Vary:
    """Return what differs between orders: by default the split itself if it is random, else the order of its tasks.

    Raises:
        UserError: the split cannot be made anew with another seed.
    """
    if wanted == "split" and split.method not in _SEEDED:
        raise UserError(
            f"the split '{split.name}' is of the method '{split.method}', which is not drawn anew for each order: "
            "use --vary order, which permutes its tasks"
        )
    return wanted or ("split" if split.method == "random" else "order")


def make_orders(dataset: PreparedDataset, split: Split, numbers: Sequence[int], vary: Vary) -> list[Split]:
    """Return the split of each order, called NAME-orderNUMBER.

    With `split`, order k is made as `split` was, with seed k and as many tasks. With `order`, its tasks are permuted:
    order 0 is as given, and no two orders are alike.

    Args:
        dataset: the data set.
        split: that the configuration names.
        numbers: of the orders.
        vary: what differs.

    Raises:
        UserError: there are fewer orders of the tasks than asked for.
    """
    tasks = len(split.tasks)
    if vary == "split":
        slot = str(split.parameters.get("slot", "object"))
        return [
            split_dataset(dataset, _name(split, number), split.method, tasks=tasks, seed=number, slot=slot)
            for number in numbers
        ]
    if len(numbers) > math.factorial(tasks):
        raise UserError(
            f"the {tasks} tasks of split '{split.name}' have {math.factorial(tasks)} orders, fewer than the "
            f"{len(numbers)} asked for: lower --orders, or use --vary split if the split is random"
        )
    parameters = {**split.parameters, "order_of": split.name}
    return [
        Split(_name(split, number), split.method, number, parameters, tuple(split.tasks[place] for place in places))
        for number, places in ((number, permutation(tasks, number)) for number in numbers)
    ]


def permutation(tasks: int, number: int) -> tuple[int, ...]:
    """Return an order of the tasks 0..tasks-1: 0 is the identity, and up to tasks! numbers in a row are all unlike.

    >>> permutation(3, 0), len({permutation(3, number) for number in range(6)})
    ((0, 1, 2), 6)
    """
    if number == 0:
        return tuple(range(tasks))
    if tasks > _LISTED:
        return tuple(int(place) for place in np.random.default_rng(number).permutation(tasks))
    first, *others = itertools.permutations(range(tasks))
    mixed = np.random.default_rng(0).permutation(len(others))
    shuffled: list[tuple[int, ...]] = [first, *(others[place] for place in mixed)]
    return shuffled[number % len(shuffled)]


def write_orders(dataset: PreparedDataset, splits: Sequence[Split]) -> None:
    """Write the splits into the data set, where they are not there yet.

    Raises:
        UserError: another split has the name of one of them.
    """
    for split in splits:
        try:
            write_split(dataset, split)
        except UserError:
            raise UserError(
                f"{dataset.folder / 'splits' / split.name}.json already holds another split: rename that file, or name "
                "another split with --set data.split=..."
            ) from None


def _name(split: Split, number: int) -> str:
    return f"{split.name}-order{number}"
