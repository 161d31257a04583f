"""Accuracy of class sequences: data sets whose facts are all of order 1, one class each, as in object recognition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mas_triplets.data.prepared import IntArray
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.protocol import StageScores
from mas_triplets.evaluation.results import Row, matrix_record, stage_rows

VIEWS = {"within_task": "standard", "all_classes": "generalized"}
"""Which classes are told apart -> the gallery of facts that they are."""


def class_means(per_class: Mapping[int, float], tasks: Sequence[IntArray]) -> Row:
    """Return (T,) the mean of the classes' accuracies over the classes of each task, None where none has a value.

    >>> class_means({0: 1.0, 1: 0.5, 2: 0.25}, [np.array([0, 1]), np.array([2, 3]), np.array([4])])
    [0.75, 0.25, None]
    """
    values = [[per_class[fact] for fact in facts.tolist() if fact in per_class] for facts in tasks]
    return [float(np.mean(found)) if found else None for found in values]


def accuracy_record(
    matrices: Mapping[str, Any],
    scores: Mapping[int, Mapping[tuple[str, str, str], StageScores]],
    tasks: Sequence[IntArray],
) -> dict[str, Any]:
    """Return the record of results.json: accuracy within the task and over all classes, per image and per class.

    Args:
        matrices: those of results.json.
        scores: number of tasks learnt -> scores; 0 is the untrained model.
        tasks: the fact_ids of each task.
    """
    record: dict[str, Any] = {"definition": definition("accuracy")}
    for view, gallery in VIEWS.items():
        key = ("image_to_fact", gallery, "reembedded")
        per_class = {learnt: found[key].per_fact for learnt, found in scores.items() if key in found}
        rows = {learnt: class_means(found, tasks) for learnt, found in per_class.items()}
        last = per_class[max(per_class)]
        record[view] = {
            "definition": definition(f"accuracy_{view}"),
            "per_image": {
                **matrices["image_to_fact"][gallery]["reembedded"]["k@1"],
                "definition": definition("accuracy_per_image"),
            },
            "per_class": {
                "definition": definition("accuracy_per_class"),
                **matrix_record(
                    stage_rows(rows, len(tasks)),
                    untrained=rows.get(0),
                    over_all=float(np.mean(list(last.values()))) if gallery == "generalized" and last else None,
                ),
            },
        }
    return record
