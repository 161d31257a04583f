"""The drawings of a comparison: methods in one drawing, and the matrices of the runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import mean_of_seen, over_runs
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.evaluation.comparison.methods import Method
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.plots.matrix import heat_map
from mas_triplets.evaluation.plots.methods import BANDS, Curve, Dots, TaskBars, dot_plot, mean_curves, task_bars
from mas_triplets.evaluation.stored_results import all_facts_map, own_task_map

_FEW = 6
"""Drawings that are shown without being folded out."""


def plot_section(methods: Sequence[Method], rows: Mapping[str, Mapping[str, Any]], tasks: int) -> Html:
    """Show the curves of all methods, what each has kept of each task, and the headline numbers."""
    units = {
        "average": ("Average: own-task mAP after the last task", "mAP (0 to 1), higher is better"),
        "all": ("All: mAP of all facts over all pictures", "mAP (0 to 1), higher is better"),
        "forgetting": ("Forgetting of own-task mAP", "mAP lost, lower is better"),
    }
    figures = []
    several = any(len(method.entries) > 1 for method in methods)
    dot_note = "Diamond: mean; bar: standard deviation over runs; circle: one run." if several else None
    if tasks > 1:
        bars = task_bars(
            [what_is_left(method) for method in methods], title="What is left of each task", unit="own-task mAP"
        )
        text = "Bar: after all tasks, from the first task down. Tick: when the task was learnt; the gap is forgetting."
        figures.append(html.figure(bars, text))
    for name, (title, unit) in units.items():
        dots = [Dots(method.label, [rows[entry.name][name] for entry in method.entries]) for method in methods]
        figures.append(html.figure(dot_plot(dots, title=title, unit=unit), dot_note))
    curves = [_curve(method) for method in methods]
    drawing = mean_curves(curves, tasks, title="Mean own-task mAP of the tasks learnt so far", unit="mAP (0 to 1)")
    return html.grid(html.figure(drawing, band_note(methods)), *figures)


def band_note(methods: Sequence[Method]) -> str | None:
    """Return what the lines of a drawing of several runs a method are; None for one run a method."""
    if all(len(method.entries) == 1 for method in methods):
        return None
    return "Line: mean over runs." + (" Band: standard deviation." if len(methods) <= BANDS else "")


def what_is_left(method: Method) -> TaskBars:
    """Return own-task mAP after all tasks and when each was learnt, mean over the method's runs."""
    matrices = [own_task_map(entry.results)["R"] for entry in method.entries]
    last = over_runs([R[-1] for R in matrices])[0]
    learnt = over_runs([[row[j] for j, row in enumerate(R)] for R in matrices])[0]
    # Joint training learns all tasks at once: the last entry of the diagonal is no earlier score.
    return TaskBars(method.label, last, [None] * len(last) if method.strategy == "joint" else learnt)


def _curve(method: Method) -> Curve:
    means, spread = over_runs([mean_of_seen(own_task_map(entry.results)["R"]) for entry in method.entries])
    return Curve(method.label, means, spread if len(method.entries) > 1 else None, method.strategy)


def task_section(methods: Sequence[Method], tasks: int) -> Html | None:
    """Show each task after each task, a drawing a task and a line a method; None for a single task."""
    if tasks < 2:
        return None
    figures = [
        html.figure(
            mean_curves(
                [task_curve(method, task) for method in methods],
                tasks,
                title=f"Task {task + 1}, after each task",
                unit="own-task mAP (0 to 1)",
            )
        )
        for task in range(tasks - 1)  # of the last one there is a single point, which tables tell
    ]
    text = f"From when a task was learnt on: what falls is forgotten. {band_note(methods) or ''}".rstrip()
    grid = html.grid(*figures)
    return html.join(
        (element("p", text), grid if len(figures) <= _FEW else html.details(f"The first {tasks - 1} tasks", grid))
    )


def task_curve(method: Method, task: int) -> Curve:
    """Return own-task mAP of one task (number from 0) after each task, None before it was learnt."""
    rows = []
    for entry in method.entries:
        column = [row[task] for row in own_task_map(entry.results)["R"]]
        rows.append([None if i < task else value for i, value in enumerate(column)])
    means, spread = over_runs(rows)
    return Curve(method.label, means, spread if len(rows) > 1 else None, method.strategy)


def matrix_section(entries: Sequence[Entry]) -> Html:
    """Show the matrices of all runs on one scale of colours."""
    made = []
    for what, pick in (("Own-task mAP", own_task_map), ("mAP in one gallery of all tasks so far", all_facts_map)):
        found = [pick(entry.results)["R"] for entry in entries]
        scale = max((value for R in found for row in R for value in row if value is not None), default=1.0)
        drawings = [
            html.figure(
                heat_map(R, entry.results["run"]["tasks"], title=entry.name, scale=scale, small=True),
                _matrix_caption(entry),
            )
            for entry, R in zip(entries, found, strict=True)
        ]
        opened = pick is own_task_map and len(entries) <= 2 * _FEW
        made.append(html.details(what, html.grid(*drawings, kind="small"), opened=opened))
    text = (
        "Row: after learning that task; column: score on that task; right of the line: not learnt yet. One scale of "
        "colours for all runs."
    )
    return html.join((element("p", text), *made))


def _matrix_caption(entry: Entry) -> str:
    strength = entry.settings["lifelong.strength"]
    return f"{entry.strategy}{'' if strength is None else f' {strength:g}'}, seed {entry.seed}"
