"""Swapped roles: whether a picture of <dog, chase, cat> is told from one of <cat, chase, dog>.

Both facts have the same words, so a model that only knows which things are in a picture gets one half here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.fact_codes import ABSENT, find_facts
from mas_triplets.model.triplet import gallery_rows, query_rows

_BYTES = 64 << 20


def swapped_facts(codes: IntArray) -> IntArray:
    """Return (F,) the fact with subject and object exchanged, -1 where the data set has none.

    Facts without an object have none, and <cat, chase, cat> is not its own.

    Args:
        codes: (F, 3) the facts' words: `fact_codes`.

    >>> swapped_facts(np.array([[2, 1, 0], [0, 1, 2], [0, 1, 0], [2, 1, -1]])).tolist()
    [1, 0, -1, -1]
    """
    found = find_facts(codes, codes[:, ::-1])
    return np.where((codes[:, 2] == ABSENT) | (codes[:, 0] == codes[:, 2]), -1, found)


def showing_one(pair_item: IntArray, pair_fact: IntArray, swap: IntArray) -> tuple[IntArray, IntArray]:
    """Return the (item, fact) pairs of which the item shows the fact and not the swapped one.

    Args:
        pair_item: (P,) item of each label.
        pair_fact: (P,) its fact.
        swap: (F,) `swapped_facts`.

    Facts 0 and 1 are each other's; item 5 shows fact 0, item 6 both, item 7 another fact:

    >>> [found.tolist() for found in showing_one(np.array([5, 6, 6, 7]), np.array([0, 0, 1, 2]), np.array([1, 0, -1]))]
    [[5], [0]]
    """
    other = swap[pair_fact]
    keys = pair_item * len(swap) + pair_fact
    one = (other >= 0) & ~np.isin(pair_item * len(swap) + other, keys)
    return pair_item[one], pair_fact[one]


def swapped_accuracy(right: Tensor, swapped: Tensor, fact: IntArray, swap: IntArray) -> tuple[float | None, int]:
    """Return the chance that the right fact scores higher than the swapped one, and over how many pairs of facts.

    Equal scores count one half. Mean over the pictures of a fact, then over the one or two facts of a pair that have
    pictures, so that to prefer the commoner of two does not pay, then over the pairs. None if there is no picture.

    Args:
        right: (n,) score of each picture for the fact it shows.
        swapped: (n,) its score for the swapped fact.
        fact: (n,) the fact it shows.
        swap: (F,) `swapped_facts`.

    Three pictures of fact 0, of which one is right and one tied, and one of fact 1: ((1 + 1/2 + 0) / 3 + 1) / 2.

    >>> right, swapped = torch.tensor([0.9, 0.5, 0.1, 0.7]), torch.tensor([0.2, 0.5, 0.3, 0.6])
    >>> swapped_accuracy(right, swapped, np.array([0, 0, 0, 1]), np.array([1, 0]))
    (0.75, 1)
    """
    if not len(fact):
        return None, 0
    wins = (torch.sign(right.double() - swapped.double()) + 1).numpy() / 2
    facts, of_fact = _means(fact, wins)
    pairs, of_pair = _means(np.minimum(facts, swap[facts]), of_fact)
    return float(of_pair.mean()), len(pairs)


def _means(group: IntArray, values: npt.NDArray[np.float64]) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Return the distinct groups, ascending, and the mean of the values of each."""
    groups, which, counts = np.unique(group, return_inverse=True, return_counts=True)
    return groups, np.bincount(which, weights=values) / counts


def swapped_record(
    benchmark: Benchmark, codes: IntArray, embedding: Tensor, position: IntArray, tasks: Sequence[int]
) -> dict[str, Any] | None:
    """Return the record of results.json for one model; None if no picture shows one of two swapped facts.

    Args:
        benchmark: what is asked.
        codes: (F, 3) the words of the data set's facts: `fact_codes`.
        embedding: (n, 3D) raw embeddings of the model.
        position: row of `embedding` for each item of the data set.
        tasks: numbers of the tasks learnt so far, from 0; facts of others take no part.
    """
    swap = swapped_facts(codes)
    learnt = np.zeros(len(codes), dtype=np.bool_)
    learnt[np.concatenate([benchmark.tasks[task] for task in tasks])] = True
    swap[~learnt | ~learnt[swap]] = -1
    labels = benchmark.items
    in_gallery = np.isin(labels.pair_item, benchmark.items_of_tasks(tasks))
    item, fact = showing_one(labels.pair_item[in_gallery], labels.pair_fact[in_gallery], swap)
    rows = torch.from_numpy(position[item])
    right, swapped = (
        _paired_scores(benchmark, embedding, rows, torch.from_numpy(asked)) for asked in (fact, swap[fact])
    )
    accuracy, pairs = swapped_accuracy(right, swapped, fact, swap)
    if accuracy is None:
        return None
    return {"definition": definition("swapped_roles"), "accuracy": accuracy, "pairs": pairs, "images": len(item)}


def _paired_scores(benchmark: Benchmark, embedding: Tensor, rows: Tensor, facts: Tensor) -> Tensor:
    """Return (n,) the score of each of `rows` for the fact beside it, in chunks."""
    step = max(1, _BYTES // (8 * (embedding.shape[1] + 3)))
    pieces = [embedding.new_zeros(0)]
    for start in range(0, len(rows), step):
        few, asked = rows[start : start + step], facts[start : start + step]
        vectors, mask = benchmark.vectors[asked], benchmark.mask[asked]
        gallery = gallery_rows(embedding[few], vectors.shape[-1], benchmark.score)
        scores = (gallery * query_rows(vectors, mask, benchmark.score)).sum(1)
        if benchmark.score == "euclidean":
            scores = scores - (vectors.square().sum(-1) * mask).sum(-1)
        pieces.append(scores)
    return torch.cat(pieces)
