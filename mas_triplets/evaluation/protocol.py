"""Scoring the model of one stage on every task: standard and generalized galleries, pictures of one part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.items import Items
from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.ranking import mean_over_queries, rank_metrics
from mas_triplets.model.triplet import slot_scores

GALLERIES = {
    "standard": "the task's own facts and pictures",
    "generalized": "all facts and all pictures of the tasks seen so far, split by task afterwards",
}
POLICIES = {
    "reembedded": "every picture is embedded by the present model",
    "kept": "every picture keeps the vector of the model that had just learnt the first task it belongs to",
}
FACT_TO_IMAGE = {"map": "ap", "map@100": "ap@100", "r@1": "hit@1", "r@5": "hit@5", "r@10": "hit@10"}
IMAGE_TO_FACT = {"k@1": "hit@1", "k@5": "hit@5", "k@10": "hit@10", "mrr": "rr"}
DIRECTIONS = {"fact_to_image": FACT_TO_IMAGE, "image_to_fact": IMAGE_TO_FACT}
"""Direction -> name of the mean over queries -> name of the metric of one query."""

_SCORES_BYTES = 128 << 20

PerQuery = dict[str, Tensor]
"""Metric of one query -> (queries,) values, NaN where the query has nothing relevant."""


@dataclass(frozen=True)
class Benchmark:
    """What is asked: the facts of each task and the pictures of one part that show them.

    Attributes:
        items: all items of the data set.
        parts: the part, or parts, whose pictures form the galleries.
        tasks: the fact_ids of each task.
        vectors: (F, 3, D) language embeddings of all facts of the data set.
        mask: (F, 3) their masks.
        score: `cosine` or `euclidean`.
    """

    items: Items
    parts: tuple[str, ...]
    tasks: tuple[IntArray, ...]
    vectors: Tensor
    mask: Tensor
    score: str

    def items_of_tasks(self, tasks: Sequence[int]) -> IntArray:
        """The items, ascending, that show a fact of one of the tasks (numbers from 0)."""
        facts = np.concatenate([self.tasks[task] for task in tasks])
        return self.items.select(self.parts, facts)


def rank(benchmark: Benchmark, embedding: Tensor, items: IntArray, facts: IntArray, direction: str) -> PerQuery:
    """Return the metrics of every query: of each fact over the items, or of each item over the facts.

    Args:
        benchmark: what is asked.
        embedding: (n, 3D) raw embeddings of `items`, in their order.
        items: (n,) the gallery (the queries, for image_to_fact).
        facts: (m,) fact_ids, the queries (the gallery, for image_to_fact).
        direction: `fact_to_image` or `image_to_fact`.
    """
    labels = benchmark.items.labels(items, facts)
    vectors, mask = benchmark.vectors[torch.from_numpy(facts)], benchmark.mask[torch.from_numpy(facts)]
    if direction == "image_to_fact":
        rows = max(1, _SCORES_BYTES // (8 * len(facts)))
        pieces = [
            rank_metrics(
                slot_scores(embedding[start : start + rows], vectors, mask, benchmark.score),
                torch.from_numpy(labels.rows(np.arange(start, min(start + rows, len(items))))),
                ap_cutoffs=(),
            )
            for start in range(0, len(items), rows)
        ]
    else:
        relevant = torch.from_numpy(labels.dense())
        rows = max(1, _SCORES_BYTES // (8 * len(items)))
        pieces = [
            rank_metrics(
                slot_scores(embedding, vectors[start : start + rows], mask[start : start + rows], benchmark.score).T,
                relevant[:, start : start + rows].T,
            )
            for start in range(0, len(facts), rows)
        ]
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def means(per_query: PerQuery, direction: str, chosen: Tensor | None = None) -> dict[str, float | None]:
    """Return the mean of each metric over the (chosen) queries that have an answer; None where none has."""
    return {
        name: mean_over_queries(per_query[metric] if chosen is None else per_query[metric][chosen])[0]
        for name, metric in DIRECTIONS[direction].items()
    }


@dataclass(frozen=True)
class StageScores:
    """The scores of one stage's model on every task.

    Attributes:
        by_task: metric -> one value a task, None where it is not defined.
        all: metric -> mean over all queries of the tasks seen so far in one gallery; None for `standard`.
        per_fact: fact_id -> average precision in the one gallery of all tasks seen so far; empty for `standard`.
    """

    by_task: dict[str, list[float | None]]
    all: dict[str, float | None] | None
    per_fact: Mapping[int, float]


def standard_scores(
    benchmark: Benchmark, embedding: Tensor, position: IntArray, tasks: Sequence[int], direction: str
) -> StageScores:
    """Score each of `tasks` within its own gallery; the other tasks get None.

    Args:
        benchmark: what is asked.
        embedding: (n, 3D) raw embeddings.
        position: row of `embedding` for each item of the data set.
        tasks: numbers of the tasks, from 0.
        direction: `fact_to_image` or `image_to_fact`.
    """
    by_task: dict[str, list[float | None]] = {name: [None] * len(benchmark.tasks) for name in DIRECTIONS[direction]}
    for task in tasks:
        items = benchmark.items_of_tasks([task])
        if len(items):
            found = rank(benchmark, embedding[position[items]], items, benchmark.tasks[task], direction)
            for name, value in means(found, direction).items():
                by_task[name][task] = value
    return StageScores(by_task, None, {})


def generalized_scores(
    benchmark: Benchmark, embedding: Tensor, position: IntArray, tasks: Sequence[int], direction: str
) -> StageScores:
    """Score the facts and pictures of `tasks`, those seen so far, in one gallery; then split them by task."""
    by_task: dict[str, list[float | None]] = {name: [None] * len(benchmark.tasks) for name in DIRECTIONS[direction]}
    facts = np.sort(np.concatenate([benchmark.tasks[task] for task in tasks]))
    items = benchmark.items_of_tasks(tasks)
    if not len(items):
        return StageScores(by_task, dict.fromkeys(DIRECTIONS[direction]), {})
    found = rank(benchmark, embedding[position[items]], items, facts, direction)
    for task in tasks:
        queries, own = (
            (facts, benchmark.tasks[task])
            if direction == "fact_to_image"
            else (items, benchmark.items_of_tasks([task]))
        )
        for name, value in means(found, direction, torch.from_numpy(np.isin(queries, own))).items():
            by_task[name][task] = value
    per_fact = {}
    if direction == "fact_to_image":
        pairs = zip(facts.tolist(), found["ap"].tolist(), strict=True)
        per_fact = {fact: value for fact, value in pairs if value == value}  # NaN: no picture shows it
    return StageScores(by_task, means(found, direction), per_fact)
