"""Ways to deal the facts out to tasks, each fact to one: at random, by meaning, by what is in a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact


def random_split(facts: Sequence[Fact], tasks: int, seed: int) -> list[IntArray]:
    """Deal the facts out at random: the sizes of the tasks differ by at most one."""
    _check_count(len(facts), tasks, "facts")
    order = np.random.default_rng(seed).permutation(len(facts))
    return [np.sort(group) for group in np.array_split(order, tasks)]


def semantic_split(embeddings: npt.NDArray[np.floating[Any]], tasks: int, seed: int) -> list[IntArray]:
    """Cluster the facts by meaning into tasks whose sizes differ by at most one.

    k-means under a capacity: in each round every fact is assigned, those that would lose most by their second choice
    first, to the nearest cluster with a place left; then centres are the means, until nothing changes.

    Args:
        embeddings: (facts, numbers) a language embedding of each fact.
        tasks: number of clusters.
        seed: of the first centres (drawn apart from each other, as k-means++ does).
    """
    _check_count(len(embeddings), tasks, "facts")
    points = np.asarray(embeddings, dtype=np.float64)
    generator = np.random.default_rng(seed)
    centres = points[_spread_out(points, tasks, generator)]
    capacity = np.full(tasks, len(points) // tasks)
    capacity[: len(points) % tasks] += 1
    cluster = np.full(len(points), -1)
    for _ in range(100):
        distance = ((points[:, None, :] - centres[None]) ** 2).sum(-1)
        new = _assign_under_capacity(distance, capacity)
        if np.array_equal(new, cluster):
            break
        cluster = new
        centres = np.stack([points[cluster == index].mean(0) for index in range(tasks)])
    return [np.flatnonzero(cluster == index) for index in range(tasks)]


def _spread_out(points: npt.NDArray[np.float64], count: int, generator: np.random.Generator) -> list[int]:
    chosen = [int(generator.integers(len(points)))]
    nearest_distance = ((points - points[chosen[0]]) ** 2).sum(-1)
    while len(chosen) < count:
        nearest_distance[chosen] = 0
        total = nearest_distance.sum()
        left = np.setdiff1d(np.arange(len(points)), chosen)
        pick = generator.choice(len(points), p=nearest_distance / total) if total > 0 else generator.choice(left)
        chosen.append(int(pick))
        nearest_distance = np.minimum(nearest_distance, ((points - points[pick]) ** 2).sum(-1))
    return chosen


def _assign_under_capacity(distance: npt.NDArray[np.float64], capacity: IntArray) -> IntArray:
    """Give each row the nearest column with room; of those that want a full one, the greatest regret goes first."""
    cluster = np.full(len(distance), -1)
    room = capacity.copy()
    while (waiting := np.flatnonzero(cluster < 0)).size:
        cost = np.where(room > 0, distance[waiting], np.inf)
        wanted = cost.argmin(1)
        ranked = np.sort(cost, axis=1)
        regret = ranked[:, 1] - ranked[:, 0] if cost.shape[1] > 1 else np.zeros(len(waiting))
        for index in np.unique(wanted):
            asking = np.flatnonzero(wanted == index)
            first = asking[np.argsort(-regret[asking], kind="stable")][: room[index]]
            cluster[waiting[first]] = index
            room[index] -= len(first)
    return cluster


def slot_split(facts: Sequence[Fact], slot: str, tasks: int, seed: int) -> list[IntArray]:
    """Keep facts with the same subject (predicate, object) in one task, and the tasks about equally large.

    Groups are dealt out largest first to the smallest task, equal ones in random order. Facts without the slot are
    grouped by their subject, so that <dog> and <dog, black> stay together when the split is by object.
    """
    if slot not in SLOTS:
        raise UserError(f"a slot split is by one of {', '.join(SLOTS)}, not by '{slot}'")
    position = SLOTS.index(slot)
    groups: dict[tuple[bool, str], list[int]] = {}
    for index, fact in enumerate(facts):
        text = fact.slots[position]
        groups.setdefault((text is not None, text if text is not None else fact.subject or ""), []).append(index)
    _check_count(len(groups), tasks, f"groups by {slot}")
    members = [groups[key] for key in sorted(groups)]
    order = np.random.default_rng(seed).permutation(len(members))
    order = order[np.argsort([-len(members[index]) for index in order], kind="stable")]
    chosen: list[list[int]] = [[] for _ in range(tasks)]
    for index in order:
        min(chosen, key=len).extend(members[index])
    return [np.sort(np.array(group)) for group in chosen]


def _check_count(available: int, tasks: int, what: str) -> None:
    if tasks < 1:
        raise UserError(f"a split needs at least one task, not {tasks}")
    if available < tasks:
        raise UserError(f"{tasks} tasks cannot be made of {available} {what}: ask for fewer tasks")
