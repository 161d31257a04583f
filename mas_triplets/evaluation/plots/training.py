"""Numbers of the training log over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots.canvas import SOFT, WIDTH, drawing, line_style
from mas_triplets.evaluation.plots.labels import from_zero, plain_tick


def training_curves(records: Sequence[Mapping[str, Any]], *, key: str, title: str, unit: str) -> Html:
    """Draw one number of log.jsonl over the epochs of the whole run, one piece a task.

    Args:
        records: with `task` and the number, in the order of training.
        key: which number.
        title: above the drawing.
        unit: at its axis.
    """
    with drawing(WIDTH, 230) as (figure, finish):
        axes = figure.add_subplot()
        tasks = sorted({int(record["task"]) for record in records})
        start = 0
        for number, task in enumerate(tasks):
            values = [float(record[key]) for record in records if int(record["task"]) == task]
            colour, marker, _ = line_style(number)
            steps = range(start + 1, start + len(values) + 1)
            axes.plot(steps, values, color=colour, marker=marker if len(records) < 120 else "", markersize=4)
            if number:
                axes.axvline(start + 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
            if len(tasks) > 1:
                place = (start + 0.5 + len(values) / 2, 0.97)
                name = f"task {task}" if len(tasks) < 8 else str(task)
                axes.text(*place, name, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9)
            start += len(values)
        every = [float(record[key]) for record in records]
        if min(every) > 0 and max(every) > 50 * min(every):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(plain_tick)
            axes.yaxis.set_minor_formatter("")
            unit += ", log scale"
        else:
            from_zero(axes, room=0.14)
        axes.set(title=title, xlabel="epoch of the whole run", ylabel=unit, xlim=(0.5, start + 0.5))
        axes.locator_params(axis="x", integer=True)
        return finish(f"{title} over the epochs of the run")
