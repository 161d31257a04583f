"""Scoring the model of one stage on every task: standard and generalized galleries, pictures of one part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.block_ranking import rank_blocks
from mas_triplets.evaluation.ranking import MEMORY_BYTES, mean_over_queries
from mas_triplets.evaluation.score_tiles import FACT_TILE, ITEM_TILE, ScoreTiles

GALLERIES = {
    "standard": "the task's own facts and pictures",
    "generalized": "all facts and all pictures of the tasks seen so far, split by task afterwards",
}
POLICIES = {
    "reembedded": "every picture is embedded by the present model",
    "kept": "every picture keeps the vector of the model that had just learnt the first task it belongs to",
    "kept_random": "control for `kept`: every picture keeps the vector of a model drawn evenly from those so far, so "
    "that a vector's version tells nothing of its task",
}
FACT_TO_IMAGE = {"map": "ap", "map@100": "ap@100", "r@1": "hit@1", "r@5": "hit@5", "r@10": "hit@10"}
IMAGE_TO_FACT = {"k@1": "hit@1", "k@5": "hit@5", "k@10": "hit@10", "mrr": "rr"}
DIRECTIONS = {
    "fact_to_image": FACT_TO_IMAGE,
    "image_to_fact": IMAGE_TO_FACT,
    "image_to_fact_generalised": {f"generalised_{name}": metric for name, metric in IMAGE_TO_FACT.items()},
}
"""Direction -> name of the mean over queries -> name of the metric of one query."""

PerQuery = dict[str, Tensor]
"""Metric of one query -> (queries,) values, NaN where the query has nothing relevant."""


@dataclass(frozen=True)
class StageScores:
    """The scores of one stage's model on every task, in one direction.

    Attributes:
        by_task: metric -> one value a task, None where it is not defined.
        all: metric -> mean over all queries of the tasks seen so far in one gallery; None for `standard`.
        per_fact: fact_id -> average precision (fact_to_image), or mean over the pictures that show the fact of the
            chance that a right one comes first (image_to_fact); facts without pictures are left out. Empty for
            image_to_fact_generalised.
    """

    by_task: dict[str, list[float | None]]
    all: dict[str, float | None] | None
    per_fact: Mapping[int, float]


@dataclass(frozen=True)
class Ranked:
    """What one gallery gave.

    Attributes:
        queries: direction -> metrics of every query: of each fact, or of each item.
        per_fact: direction -> (m,) one value a fact: see `StageScores`.
    """

    queries: dict[str, PerQuery]
    per_fact: dict[str, Tensor]


def rank(
    benchmark: Benchmark, embedding: Tensor, items: IntArray, facts: IntArray, *, memory_bytes: int = MEMORY_BYTES
) -> Ranked:
    """Rank the items for each fact, and the facts for each item.

    Scores of a gallery of moderate size are computed once for all directions, else in blocks for each.

    Args:
        benchmark: what is asked.
        embedding: (n, 3D) raw embeddings of `items`, in their order.
        items: (n,) items.
        facts: (m,) fact_ids.
        memory_bytes: bound on working memory, besides the arguments, the labels, the result and one tile of the matrix
            product (`score_tiles`). It does not change the result, not even in a bit.
    """
    chosen = torch.from_numpy(facts)
    tiles = ScoreTiles(embedding, benchmark.vectors[chosen], benchmark.mask[chosen], benchmark.score)
    left = memory_bytes
    if 2 * tiles.nbytes <= memory_bytes // 2:
        tiles.keep()
        left -= tiles.nbytes
    labels = benchmark.items.labels(items, facts)
    (fact_to_image,) = rank_blocks(tiles.of_facts, [labels.transposed()], memory_bytes=left, multiple_of=FACT_TILE)
    right = [labels]
    if benchmark.generalised is not benchmark.items:
        right.append(benchmark.generalised.labels(items, facts))
    by_item = rank_blocks(tiles.of_items, right, ap_cutoffs=(), memory_bytes=left, multiple_of=ITEM_TILE)
    image_to_fact, generalised = by_item[0], by_item[-1]
    return Ranked(
        dict(zip(DIRECTIONS, (fact_to_image, image_to_fact, generalised), strict=True)),
        {"fact_to_image": fact_to_image["ap"], "image_to_fact": _mean_by_fact(labels, image_to_fact["hit@1"])},
    )


def _mean_by_fact(labels: Labels, values: Tensor) -> Tensor:
    """Return (m,) the mean of the items' values over the items that show each fact, NaN where none does."""
    row = np.repeat(np.arange(len(values)), np.diff(labels.starts))
    sums = np.bincount(labels.columns, weights=values.numpy()[row], minlength=labels.facts)
    counts = np.bincount(labels.columns, minlength=labels.facts)
    return torch.from_numpy(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


def means(per_query: PerQuery, direction: str, chosen: Tensor | None = None) -> dict[str, float | None]:
    """Return the mean of each metric over the (chosen) queries that have an answer; None where none has."""
    return {
        name: mean_over_queries(per_query[metric] if chosen is None else per_query[metric][chosen])[0]
        for name, metric in DIRECTIONS[direction].items()
    }


def standard_scores(
    benchmark: Benchmark, embedding: Tensor, position: IntArray, tasks: Sequence[int]
) -> dict[str, StageScores]:
    """Return the scores of each direction of each of `tasks` within its own gallery; the other tasks get None.

    Args:
        benchmark: what is asked.
        embedding: (n, 3D) raw embeddings.
        position: row of `embedding` for each item of the data set.
        tasks: numbers of the tasks, from 0.
    """
    scores = {direction: StageScores(_no_values(benchmark, direction), None, {}) for direction in DIRECTIONS}
    per_fact: dict[str, dict[int, float]] = {direction: {} for direction in DIRECTIONS}
    for task in tasks:
        items, facts = benchmark.task_items[task], benchmark.tasks[task]
        if len(items):
            ranked = rank(benchmark, embedding[position[items]], items, facts)
            for direction, found in ranked.queries.items():
                for name, value in means(found, direction).items():
                    scores[direction].by_task[name][task] = value
                per_fact[direction] |= _by_fact(facts, ranked, direction)
    return {direction: StageScores(s.by_task, None, per_fact[direction]) for direction, s in scores.items()}


def generalized_scores(
    benchmark: Benchmark, embedding: Tensor, position: IntArray, tasks: Sequence[int]
) -> dict[str, StageScores]:
    """Score the facts and pictures of `tasks`, those seen so far, in one gallery; then split them by task."""
    facts, items = benchmark.facts_of_tasks(tasks), benchmark.items_of_tasks(tasks)
    if not len(items):
        return {
            direction: StageScores(_no_values(benchmark, direction), dict.fromkeys(names), {})
            for direction, names in DIRECTIONS.items()
        }
    ranked = rank(benchmark, embedding[position[items]], items, facts)
    scores = {}
    for direction, found in ranked.queries.items():
        by_task = _no_values(benchmark, direction)
        for task in tasks:
            of_facts = direction == "fact_to_image"
            own = np.isin(facts, benchmark.tasks[task]) if of_facts else np.isin(items, benchmark.task_items[task])
            for name, value in means(found, direction, torch.from_numpy(own)).items():
                by_task[name][task] = value
        scores[direction] = StageScores(by_task, means(found, direction), _by_fact(facts, ranked, direction))
    return scores


def _no_values(benchmark: Benchmark, direction: str) -> dict[str, list[float | None]]:
    return {name: [None] * len(benchmark.tasks) for name in DIRECTIONS[direction]}


def _by_fact(facts: IntArray, ranked: Ranked, direction: str) -> dict[int, float]:
    values = ranked.per_fact.get(direction)
    if values is None:
        return {}
    pairs = zip(facts.tolist(), values.tolist(), strict=True)
    return {fact: value for fact, value in pairs if value == value}  # NaN: no picture shows it
