"""results.json: the full matrices of every metric, gallery and policy, each number with its definition beside it."""

from __future__ import annotations

from typing import Any

from mas_triplets.data.format import ORDERS
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.lifelong import summary
from mas_triplets.evaluation.protocol import DIRECTIONS, GALLERIES, POLICIES, StageScores
from mas_triplets.lifelong import STRATEGIES
from mas_triplets.training.run_folder import RunFolder

Results = dict[str, Any]
Scores = dict[int, dict[tuple[str, str, str], StageScores]]
"""Stage -> (direction, gallery, policy) -> scores; stage 0 is the untrained model."""

_OVER_TASKS = ("average", "backward_transfer", "forgetting", "forward_transfer")


def collect(run: RunFolder, dataset: PreparedDataset, tasks: list[str], part: str, scores: Scores) -> Results:
    """Put the scores of all stages together.

    A matrix has a row for each task learnt and a column for each task; an entry that is not defined is null. A run
    that learns all tasks at once has only the last row.
    """
    merged = STRATEGIES[run.config.lifelong.strategy].merges_tasks
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
        },
        "galleries": GALLERIES,
        "policies": POLICIES,
        "by_order": _by_order(dataset, scores),
        "matrices": matrices,
    }


def _matrix(name: str, key: tuple[str, str, str], tasks: int, scores: Scores, merged: bool) -> dict[str, Any]:
    last = max(scores)
    rows: list[list[float | None]] = [[None] * tasks for _ in range(tasks)]
    for stage in range(1, last + 1):
        row = tasks if merged else stage
        rows[row - 1] = scores[stage][key].by_task[name]
    untrained = scores[0][key].by_task[name] if key in scores[0] else None
    found = summary(rows, untrained)
    final = scores[last][key].all
    return {
        "definition": definition(name),
        "gallery": GALLERIES[key[1]],
        "policy": POLICIES[key[2]],
        "R": rows,
        "untrained": untrained,
        "all": final[name] if final else None,
        **{measure: found[measure] for measure in _OVER_TASKS},
    }


def _by_order(dataset: PreparedDataset, scores: Scores) -> dict[str, Any]:
    per_fact = scores[max(scores)]["fact_to_image", "generalized", "reembedded"].per_fact
    rows = {}
    for order in ORDERS:
        values = [value for fact, value in per_fact.items() if dataset.facts[fact].order == order]
        rows[str(order)] = {"map": sum(values) / len(values) if values else None, "facts": len(values)}
    return {"definition": "All-facts mAP after the last task, mean over the facts of one order.", **rows}
