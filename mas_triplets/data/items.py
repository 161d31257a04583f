"""Items: what is embedded, one row each. A whole picture, or one box of a picture, with the facts that hold there."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mas_triplets.data.format import PARTS
from mas_triplets.data.prepared import IntArray, PreparedDataset

Region = Literal["image", "box"]


@dataclass(frozen=True)
class Items:
    """The items of a data set.

    Attributes:
        image: (N,) picture number of each item.
        box: (N, 4) its box in pixels, NaN for the whole picture.
        part: (N,) position in `PARTS`; -1 for those in no part.
        pair_item: (P,) item of each distinct (item, fact) pair, ascending.
        pair_fact: (P,) its fact_id.
    """

    image: IntArray
    box: npt.NDArray[np.float32]
    part: IntArray
    pair_item: IntArray
    pair_fact: IntArray

    def __len__(self) -> int:
        return len(self.image)

    def select(self, parts: tuple[str, ...], fact_ids: IntArray) -> IntArray:
        """Return the items, ascending, that are in one of `parts` and show at least one of the facts."""
        with_fact = np.unique(self.pair_item[np.isin(self.pair_fact, fact_ids)])
        codes = [PARTS.index(part) for part in parts]
        return with_fact[np.isin(self.part[with_fact], codes)]

    def without(self, images: Collection[int]) -> Items:
        """Return the same items, of which those of the pictures `images` are in no part and are never selected."""
        if not images:
            return self
        part = np.where(np.isin(self.image, list(images)), -1, self.part)
        return dataclasses.replace(self, part=part)

    def in_one_task(self, tasks: Sequence[IntArray], parts: tuple[str, ...], seed: int) -> Items:
        """Return the same items, of which each in one of `parts` keeps the facts of a single task.

        The task is drawn, all alike, from those that it shows a fact of, so no picture is learnt from in two tasks.
        Other items, and facts of no task, are as they were.

        Args:
            tasks: the fact_ids of each task; no fact is in two.
            parts: whose items are dealt out.
            seed: of the drawing.
        """
        facts = max(int(self.pair_fact.max(initial=-1)), *(int(max(task)) for task in tasks)) + 1
        task_of = np.full(facts, -1)
        for number, task in enumerate(tasks):
            task_of[np.asarray(task)] = number
        task = task_of[self.pair_fact]
        dealt = np.isin(self.part[self.pair_item], [PARTS.index(part) for part in parts]) & (task >= 0)
        luck = np.random.default_rng(seed).random((len(self), len(tasks)))
        shows = np.zeros((len(self), len(tasks)), dtype=np.bool_)
        shows[self.pair_item[dealt], task[dealt]] = True
        chosen = np.where(shows, luck, -1.0).argmax(axis=1)
        kept = ~dealt | (chosen[self.pair_item] == task)
        return dataclasses.replace(self, pair_item=self.pair_item[kept], pair_fact=self.pair_fact[kept])

    def labels(self, items: IntArray, fact_ids: IntArray) -> Labels:
        """Return which of the facts each of the items shows. Both lists hold distinct numbers."""
        row = np.full(len(self), -1)
        row[items] = np.arange(len(items))
        column = np.full(max(int(self.pair_fact.max(initial=-1)), int(fact_ids.max(initial=-1))) + 1, -1)
        column[fact_ids] = np.arange(len(fact_ids))
        rows, columns = row[self.pair_item], column[self.pair_fact]
        wanted = (rows >= 0) & (columns >= 0)
        return Labels.of_pairs(rows[wanted], columns[wanted], len(items), len(fact_ids))


@dataclass(frozen=True)
class Labels:
    """Which facts each of some items shows, in compressed rows: facts of row r are columns[starts[r]:starts[r + 1]]."""

    starts: IntArray
    columns: IntArray
    facts: int

    @classmethod
    def of_pairs(cls, row: IntArray, column: IntArray, items: int, facts: int) -> Labels:
        """Return the labels of `items` rows that the distinct pairs (row, column) describe, in any order."""
        order = np.argsort(row, kind="stable")
        return cls(np.append(0, np.cumsum(np.bincount(row, minlength=items))), column[order], facts)

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return the row and the column of every pair, by row."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts)), self.columns

    def transposed(self) -> Labels:
        """Return the same pairs with a row for each fact, whose columns are the items that show it."""
        row, column = self.pairs()
        return Labels.of_pairs(column, row, self.facts, len(self.starts) - 1)

    def rows(self, positions: IntArray) -> npt.NDArray[np.bool_]:
        """Return (len(positions), facts): whether the item at each position shows each fact."""
        counts = self.starts[positions + 1] - self.starts[positions]
        row = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        matrix = np.zeros((len(positions), self.facts), dtype=np.bool_)
        matrix[row, self.columns[np.repeat(self.starts[positions], counts) + within]] = True
        return matrix

    def dense(self) -> npt.NDArray[np.bool_]:
        """Return all rows, (items, facts)."""
        return self.rows(np.arange(len(self.starts) - 1))


def items_of(dataset: PreparedDataset, region: Region) -> Items:
    """Return the items of a data set: its pictures, or their distinct boxes (an absent box is the picture)."""
    if region == "image":
        box = np.full((len(dataset.images), 4), np.nan, dtype=np.float32)
        image = np.arange(len(dataset.images))
        of_instance = dataset.instance_image
    else:
        # NaN is unequal to itself, so a number that no box has stands for it while equal boxes are searched.
        key = np.column_stack([dataset.instance_image, np.nan_to_num(dataset.instance_box, nan=-1.0)])
        found, of_instance = np.unique(key, axis=0, return_inverse=True)
        of_instance = of_instance.reshape(-1)
        image = found[:, 0].astype(np.int64)
        box = np.where(found[:, 1:] < 0, np.nan, found[:, 1:]).astype(np.float32)
    pairs = np.unique(of_instance * len(dataset.facts) + dataset.instance_fact)
    return Items(image, box, dataset.image_part[image], *np.divmod(pairs, len(dataset.facts)))


def unlabelled_items(pictures: int) -> Items:
    """Return the items of so many pictures of which nothing is known: each whole, without labels, in no part."""
    box = np.full((pictures, 4), np.nan, dtype=np.float32)
    none = np.empty(0, dtype=np.int64)
    return Items(np.arange(pictures), box, np.full(pictures, -1), none, none)
