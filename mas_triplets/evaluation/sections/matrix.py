"""The scores after each task: drawings of R and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import Matrix
from mas_triplets.evaluation.html import Content, Html
from mas_triplets.evaluation.plots.matrix import heat_map, task_curves
from mas_triplets.evaluation.stored_results import all_facts_map, own_task_map


def matrix_section(results: Mapping[str, Any]) -> Html:
    """Show R of own-task mAP and of the one gallery: in colours, as curves and as numbers."""
    tasks, own, one = results["run"]["tasks"], own_task_map(results), all_facts_map(results)
    scale = max((value for found in (own, one) for row in found["R"] for value in row if value is not None), default=1)
    several = sum(any(value is not None for value in row) for row in own["R"]) > 1  # of one stage there is no curve
    figures = []
    for R, title, below, beside in (
        (
            own["R"],
            "Own-task mAP",
            "Each task's facts over its own pictures. Row: after learning that task; column: asked about that task. "
            "Right of the line: tasks not learnt yet. Down a column one sees forgetting.",
            "Dotted: before the task was learnt.",
        ),
        (
            one["R"],
            "mAP in one gallery of all tasks so far",
            "The column's facts over the pictures of every task learnt so far: harder with each task.",
            "Falls both by forgetting and because there are more pictures to tell apart.",
        ),
    ):
        figures.append(html.figure(heat_map(R, tasks, title=title, scale=scale), below))
        if several:
            figures.append(html.figure(task_curves(R, tasks, title=title, unit="mAP (0 to 1)"), beside))
    head = ["", "task", "own-task mAP at the end", "when learnt", "best before the end"]
    return html.join(
        (
            html.grid(*figures),
            html.table(head, [_task_rows(own, tasks)], text_columns=2),
            html.details(
                "Both matrices as numbers",
                _numbers(own["R"], "Own-task mAP; row: after learning task, column: score on task."),
                _numbers(one["R"], "mAP in one gallery of all tasks so far."),
            ),
        )
    )


def _task_rows(own: Mapping[str, Any], tasks: Sequence[str]) -> list[list[Content]]:
    R = own["R"]
    rows: list[list[Content]] = []
    for j, name in enumerate(tasks):
        earlier = [row[j] for row in R[j:-1] if row[j] is not None]
        rows.append([str(j + 1), name, R[-1][j], R[j][j], max(earlier, default=None)])
    return rows


def _numbers(R: Matrix, caption: str) -> Html:
    head = ["after", *(str(number + 1) for number in range(len(R)))]
    return html.table(head, [[[str(i + 1), *row] for i, row in enumerate(R)]], caption=caption)
