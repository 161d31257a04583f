"""Kinds of facts that are scored apart: by order, by how often training showed them, by whether it showed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.format import ORDERS, PARTS
from mas_triplets.data.items import Items
from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.fact_codes import ABSENT

THIRDS = ("head", "mid", "tail")
SEEN = ("seen", "unseen", "unknown")

PerFact = Mapping[int, float]
"""fact_id -> average precision."""


def training_counts(items: Items, parts: tuple[str, ...], facts: int) -> IntArray:
    """Return (facts,) how many items of the training parts are labelled with each fact."""
    shown = np.isin(items.part[items.pair_item], [PARTS.index(part) for part in parts])
    return np.bincount(items.pair_fact[shown], minlength=facts)


def thirds(counts: IntArray) -> IntArray:
    """Return (n,) the third of each fact by training count: 0 head (the most), 1 mid, 2 tail.

    With the facts sorted by falling count, a fact's place is the middle of the places of all facts with its count, and
    its third the one that this place is in. Facts of one count are never parted, and the order of facts does not
    matter; the price is that thirds are uneven where many facts have one count.

    >>> thirds(np.array([9, 1, 5, 1, 7, 4])).tolist()   # 9 7 | 5 4 | 1 1
    [0, 2, 1, 2, 0, 1]
    >>> thirds(np.array([3, 3, 3])).tolist()
    [1, 1, 1]
    """
    values, which, equal = np.unique(counts, return_inverse=True, return_counts=True)
    more = len(counts) - np.cumsum(equal)
    twice_the_middle = 2 * more + equal  # of the places from 0 to n that facts with each count take
    third = 3 * twice_the_middle // (2 * max(1, len(counts)))
    return third[which] if len(values) else np.empty(0, dtype=np.int64)


def seen_kinds(codes: IntArray, trained: npt.NDArray[np.bool_]) -> IntArray:
    """Return (n,) the position in `SEEN` of each fact.

    `seen`: it has a training item. `unseen`: it has none, but each of its words is in the same slot of a fact that has.
    `unknown`: it has none, and one of its words was never seen in its slot.

    Args:
        codes: (n, 3) the facts' words: `fact_codes`.
        trained: (n,) whether the fact has a training item.

    Learnt are <0, 5> and <1, 6>; <0, 6> is a new combination, in <2, 5> a word is new, <5> is no known subject:

    >>> codes = np.array([[0, 5, -1], [1, 6, -1], [0, 6, -1], [2, 5, -1], [5, -1, -1]])
    >>> seen_kinds(codes, np.array([True, True, False, False, False])).tolist()
    [0, 0, 1, 2, 2]
    """
    known = [np.isin(codes[:, slot], codes[trained, slot]) | (codes[:, slot] == ABSENT) for slot in range(3)]
    return np.where(trained, 0, np.where(np.all(known, axis=0), 1, 2))


def group_maps(groups: Mapping[str, IntArray], all_facts: PerFact, own_task: PerFact) -> dict[str, dict[str, Any]]:
    """Return both mAPs of each group of facts, and how many of its facts have pictures to be found.

    Args:
        groups: name -> fact_ids.
        all_facts: average precision of the facts in the one gallery of all tasks so far.
        own_task: average precision in the gallery of their own task.

    >>> group_maps({"a": np.array([3, 4]), "b": np.array([7])}, {3: 0.5, 4: 0.25}, {3: 1.0, 4: 0.5})["a"]
    {'map': 0.375, 'own_task_map': 0.75, 'facts': 2}
    """
    facts = np.array(list(all_facts), dtype=np.int64)
    values = {
        "map": np.array(list(all_facts.values()), dtype=np.float64),
        "own_task_map": np.array([own_task[fact] for fact in all_facts], dtype=np.float64),
    }
    chosen = {name: np.isin(facts, members) for name, members in groups.items()}
    return {
        name: {
            **{
                key: sum(found[inside].tolist()) / int(inside.sum()) if inside.any() else None
                for key, found in values.items()
            },
            "facts": int(inside.sum()),
        }
        for name, inside in chosen.items()
    }


def by_order(orders: IntArray, all_facts: PerFact, own_task: PerFact) -> dict[str, Any]:
    """Return the record of results.json that parts facts by their order; `orders` is (F,), that of each fact."""
    groups = {str(order): np.flatnonzero(orders == order) for order in ORDERS}
    return {"definition": definition("by_order"), **group_maps(groups, all_facts, own_task)}


def by_training_count(facts: IntArray, counts: IntArray, all_facts: PerFact, own_task: PerFact) -> dict[str, Any]:
    """Return the record of results.json that parts the facts in thirds by training count.

    Facts without a training item are in none of the thirds. `fewest` and `most` are the counts of a third's facts.

    Args:
        facts: (n,) the facts of the tasks learnt so far.
        counts: (F,) training items of every fact of the data set: `training_counts`.
        all_facts: average precision by fact_id: see `group_maps`.
        own_task: likewise.
    """
    learnt = facts[counts[facts] > 0]
    third = thirds(counts[learnt])
    groups = {name: learnt[third == place] for place, name in enumerate(THIRDS)}
    maps = group_maps(groups, all_facts, own_task)
    for name, members in groups.items():
        bounds = (int(counts[members].min()), int(counts[members].max())) if len(members) else (None, None)
        maps[name] |= dict(zip(("fewest", "most"), bounds, strict=True))
    return {"definition": definition("by_training_count"), **maps}


def by_seen(
    facts: IntArray, codes: IntArray, counts: IntArray, all_facts: PerFact, own_task: PerFact
) -> dict[str, Any]:
    """Return the record of results.json that parts seen, unseen and unknown facts.

    Args:
        facts: (n,) the facts of the tasks learnt so far.
        codes: (F, 3) the words of the data set's facts: `fact_codes`.
        counts: (F,) training items of every fact: `training_counts`.
        all_facts: average precision by fact_id: see `group_maps`.
        own_task: likewise.
    """
    kind = seen_kinds(codes[facts], counts[facts] > 0)
    groups = {name: facts[kind == place] for place, name in enumerate(SEEN)}
    return {"definition": definition("by_seen"), **group_maps(groups, all_facts, own_task)}
