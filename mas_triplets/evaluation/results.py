"""results.json: the full matrices of every metric, gallery and policy, each number with its definition beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.fact_groups import by_order
from mas_triplets.evaluation.lifelong import summary
from mas_triplets.evaluation.protocol import DIRECTIONS, GALLERIES, POLICIES, StageScores
from mas_triplets.lifelong import merges_tasks
from mas_triplets.training.run_folder import RunFolder

Results = dict[str, Any]
Row = list[float | None]
Scores = dict[int, dict[tuple[str, str, str], StageScores]]
"""Stage -> (direction, gallery, policy) -> scores; stage 0 is the untrained model."""

_OVER_TASKS = ("average", "backward_transfer", "forgetting", "forward_transfer")


def collect(run: RunFolder, dataset: PreparedDataset, tasks: list[str], part: str, scores: Scores) -> Results:
    """Put the scores of all stages together.

    A matrix has a row for each task learnt and a column for each task; an entry that is not defined is null. A run
    that learns all tasks at once has only the last row.
    """
    merged = merges_tasks(run.config.lifelong.strategy)
    matrices = {
        direction: {
            gallery: {
                policy: {
                    name: _matrix(name, (direction, gallery, policy), len(tasks), scores, merged)
                    for name in DIRECTIONS[direction]
                }
                for policy in POLICIES
            }
            for gallery in GALLERIES
        }
        for direction in DIRECTIONS
    }
    finished = max(scores) == (1 if merged else len(tasks))
    own = matrices["fact_to_image"]["standard"]["reembedded"]["map"]
    one = matrices["fact_to_image"]["generalized"]["reembedded"]["map"]
    return {
        "average": own["average"],
        "all": one["all"] if finished else None,
        "forgetting": own["forgetting"],
        "definitions": {
            "average": "Own-task mAP: each task's facts over its own pictures after the last task, mean over tasks.",
            "all": "All-facts mAP: every fact ranked over all pictures after the last task, mean over facts.",
            "forgetting": f"Of own-task mAP. {definition('forgetting')}",
        },
        "run": {
            "strategy": run.config.lifelong.strategy,
            "strength": run.config.lifelong.strength,
            "seed": run.config.seed,
            "data": dataset.name,
            "data_fingerprint": dataset.fingerprint,
            "split": run.config.data.split,
            "part": part,
            "tasks": tasks,
            "stages": run.stages,
            **run.stored_pictures(),
        },
        "galleries": GALLERIES,
        "policies": POLICIES,
        "by_order": by_order(
            np.array([fact.order for fact in dataset.facts]),
            scores[max(scores)]["fact_to_image", "generalized", "reembedded"].per_fact,
            scores[max(scores)]["fact_to_image", "standard", "reembedded"].per_fact,
        ),
        "matrices": matrices,
    }


def _matrix(name: str, key: tuple[str, str, str], tasks: int, scores: Scores, merged: bool) -> dict[str, Any]:
    last = max(scores)
    found = {tasks if merged else stage: scores[stage][key].by_task[name] for stage in range(1, last + 1)}
    final = scores[last][key].all
    return {
        "definition": definition(name),
        "gallery": GALLERIES[key[1]],
        "policy": POLICIES[key[2]],
        **matrix_record(
            stage_rows(found, tasks),
            untrained=scores[0][key].by_task[name] if key in scores[0] else None,
            over_all=final[name] if final else None,
        ),
    }


def stage_rows(found: Mapping[int, Row], tasks: int) -> list[Row]:
    """Return (tasks, tasks): the row of each number of tasks learnt; what is not there is null.

    >>> stage_rows({2: [0.5, 0.25]}, 2)   # both tasks were learnt at once
    [[None, None], [0.5, 0.25]]
    """
    return [list(found.get(learnt, [None] * tasks)) for learnt in range(1, tasks + 1)]


def matrix_record(rows: Sequence[Row], *, untrained: Row | None, over_all: float | None) -> dict[str, Any]:
    """Return what is told of every matrix.

    Args:
        rows: R, (T, T).
        untrained: (T,) the untrained model's scores.
        over_all: the score over all queries of one gallery, after the last task learnt.
    """
    found = summary(rows, untrained)
    return {
        "R": rows,
        "untrained": untrained,
        "all": over_all,
        **{measure: found[measure] for measure in _OVER_TASKS},
    }
