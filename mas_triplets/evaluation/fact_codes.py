"""Facts as rows of word numbers, so that questions about many facts are array operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mas_triplets.data.prepared import IntArray
from mas_triplets.facts import Fact

ABSENT = -1
"""The number of a slot that a fact does not have."""


def fact_codes(facts: Sequence[Fact]) -> IntArray:
    """Return (F, 3) the number of the word in each slot, `ABSENT` where there is none.

    A word has one number in all slots, so that a subject can be compared with an object.

    >>> fact_codes([Fact("dog"), Fact("dog", "chase"), Fact("dog", "chase", "cat")]).tolist()
    [[2, -1, -1], [2, 1, -1], [2, 1, 0]]
    """
    words = sorted({slot for fact in facts for slot in fact.slots if slot is not None})
    number: dict[str | None, int] = {word: place for place, word in enumerate(words)}
    rows = [[number.get(slot, ABSENT) for slot in fact.slots] for fact in facts]
    return np.array(rows, dtype=np.int64).reshape(len(rows), 3)


def find_facts(codes: IntArray, wanted: IntArray) -> IntArray:
    """Return (n,) the row of `codes` (F, 3) that equals each row of `wanted` (n, 3), -1 where none does.

    Rows of `codes` are distinct; the numbers of both are of one `fact_codes`.

    >>> find_facts(np.array([[2, -1, -1], [2, 1, 0]]), np.array([[2, 1, 0], [0, 1, 2]])).tolist()
    [1, -1]
    """
    if not len(codes):
        return np.full(len(wanted), -1, dtype=np.int64)
    base = max(int(codes.max()), int(wanted.max(initial=ABSENT))) + 2
    weights = np.array([base * base, base, 1], dtype=np.int64)
    keys, asked = (codes - ABSENT) @ weights, (wanted - ABSENT) @ weights
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], asked).clip(max=len(keys) - 1)
    row = order[place]
    return np.where(keys[row] == asked, row, -1)
