"""Generalisations: a picture of <person, ride, horse> also shows <person, ride> and <person>."""

from __future__ import annotations

import dataclasses

import numpy as np

from mas_triplets.data.items import Items
from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.fact_codes import ABSENT, find_facts


def generalisations(codes: IntArray) -> IntArray:
    """Return (F, 2) each fact without its object, and without predicate and object: fact_ids, -1 where there is none.

    Only facts of the data set count, and none is a generalisation of itself.

    Args:
        codes: (F, 3) the facts' words: `fact_codes`.

    <person>, <person, ride>, <person, ride, horse> and <dog, chase, cat>, which nothing generalises:

    >>> generalisations(np.array([[3, -1, -1], [3, 4, -1], [3, 4, 2], [1, 0, 5]])).tolist()
    [[-1, -1], [-1, 0], [1, 0], [-1, -1]]
    """
    found = []
    for first in (2, 1):  # the first slot that is left out
        wanted = codes.copy()
        wanted[:, first:] = ABSENT
        found.append(np.where(codes[:, first] == ABSENT, -1, find_facts(codes, wanted)))
    return np.stack(found, axis=1)


def with_generalisations(items: Items, codes: IntArray) -> Items:
    """Return the items with the generalisations of their facts added; `items` itself where they have them all.

    Args:
        items: with the facts they show.
        codes: (F, 3) the words of the data set's facts: `fact_codes`.
    """
    parents = generalisations(codes)[items.pair_fact]
    known = parents >= 0
    item = np.concatenate([items.pair_item, np.repeat(items.pair_item, 2)[known.reshape(-1)]])
    fact = np.concatenate([items.pair_fact, parents[known]])
    pairs = np.unique(item * len(codes) + fact)
    if len(pairs) == len(items.pair_item):
        return items
    pair_item, pair_fact = np.divmod(pairs, len(codes))
    return dataclasses.replace(items, pair_item=pair_item, pair_fact=pair_fact)
