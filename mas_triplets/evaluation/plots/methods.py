"""Several methods in one drawing: curves over the tasks, what is left of each task, final numbers over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mas_triplets.evaluation.averages import Row, deviation
from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots.canvas import COLOURS, INK, LINE, SOFT, WIDTH, drawing, gaps, line_style
from mas_triplets.evaluation.plots.labels import count_axis, end_labels, from_zero, shortened

BANDS = 5
"""Most lines of one drawing whose deviations are drawn: bands of more lie over one another."""


@dataclass(frozen=True)
class Curve:
    """One line of a drawing of several methods.

    Attributes:
        label: the method.
        values: one a task learnt, None where not measured.
        spread: the deviation of each over runs, or None.
        role: `finetune` and `joint` are drawn as the bounds they are.
    """

    label: str
    values: Row
    spread: Row | None = None
    role: str = ""


@dataclass(frozen=True)
class TaskBars:
    """One group of a drawing of what methods have kept.

    Attributes:
        label: the method.
        last: the score on each task after all tasks, None where not measured.
        learnt: that right after the task itself was learnt, None where not measured.
    """

    label: str
    last: Row
    learnt: Row


@dataclass(frozen=True)
class Dots:
    """One line of a drawing that compares methods: the value of each run of one method."""

    label: str
    values: Row


def mean_curves(curves: Sequence[Curve], tasks: int, *, title: str, unit: str) -> Html:
    """Draw one line a method: a mean after each task, with its deviation if there are few enough to tell them apart."""
    steps = list(range(1, tasks + 1))
    with drawing(WIDTH, 340 + 9 * max(0, len(curves) - 10)) as (figure, finish):
        axes = figure.add_subplot()
        labels = []
        for number, curve in enumerate(curves):
            colour, marker, dash = line_style(number)
            if curve.role == "joint":
                last = curve.values[-1]
                if last is not None:
                    axes.axhline(last, color=INK, linestyle=(0, (4, 3)), linewidth=1.3)
                    axes.plot(steps[-1:], [last], color=INK, marker="*", markersize=11)
                labels.append((curve.values, f"{curve.label} (all at once)", INK))
                continue
            if curve.role == "finetune":
                colour, marker, dash = SOFT, "x", (0, (2, 2))
            axes.plot(steps, gaps(curve.values), color=colour, marker=marker, linestyle=dash)
            if curve.spread is not None and len(curves) <= BANDS:
                pairs = list(zip(gaps(curve.values), gaps(curve.spread), strict=True))
                low, high = [value - spread for value, spread in pairs], [value + spread for value, spread in pairs]
                axes.fill_between(steps, low, high, color=colour, alpha=0.14, linewidth=0)
            labels.append((curve.values, curve.label, colour))
        axes.set(title=title, xlabel="tasks learnt", ylabel=unit, xlim=(min(0.85, 1 - 0.02 * tasks), tasks + 0.1))
        count_axis(axes, tasks)
        from_zero(axes)
        end_labels(axes, [(values, shortened(label, 34), colour) for values, label, colour in labels])
        return finish(f"{title}: one line a method")


def task_bars(methods: Sequence[TaskBars], *, title: str, unit: str) -> Html:
    """Draw a group of bars a method, a bar a task from the first one down: its score after all tasks.

    A tick stands where the score was when the task was learnt: what lies between is forgotten.
    """
    count = len(methods[0].last)
    thick = min(11.0, max(5.0, 90 / count))
    group = count * thick + 12
    with drawing(WIDTH, 76 + group * len(methods)) as (figure, finish):
        axes = figure.add_subplot()
        for number, method in enumerate(methods):
            for task, (last, learnt) in enumerate(zip(method.last, method.learnt, strict=True)):
                place = number * group + (task + 0.5) * thick
                if thick > 8:
                    style: Any = {"textcoords": "offset points", "ha": "right", "va": "center", "fontsize": thick - 2}
                    axes.annotate(str(task + 1), (0, place), (-4, 0), color=SOFT, **style)
                if last is not None:
                    axes.barh(place, last, height=0.8 * thick, color="#9dbfe0", edgecolor=COLOURS[0], linewidth=0.8)
                if learnt is not None:
                    axes.plot(learnt, place, "|", color=INK, markersize=thick, markeredgewidth=1.8)
        centres = [(number + 0.5) * group - 6 for number in range(len(methods))]
        axes.set_yticks(centres, [shortened(method.label, 30) for method in methods])
        axes.set(title=title, xlabel=unit, ylim=(len(methods) * group - 6, -6))
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.axvline(0, color=SOFT, linewidth=1)
        axes.tick_params(axis="y", length=0, pad=18 if thick > 8 else 5)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        return finish(f"{title}: one group of bars a method")


def dot_plot(methods: Sequence[Dots], *, title: str, unit: str) -> Html:
    """Draw the mean of each method with its deviation, and each run as a small circle."""
    with drawing(WIDTH, 84 + 30 * len(methods)) as (figure, finish):
        axes = figure.add_subplot()
        for place, method in enumerate(methods):
            values = [value for value in method.values if value is not None]
            if not values:
                style: Any = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "color": SOFT}
                axes.annotate("not defined", (0, place), **style)
                continue
            mean, spread = fmean(values), deviation(values)
            axes.hlines(place, 0, mean, color=LINE, linewidth=5, zorder=1)
            if len(values) > 1:
                axes.plot(values, [place + 0.27] * len(values), "o", color=SOFT, fillstyle="none", markersize=4.5)
            axes.errorbar(mean, place, xerr=spread, fmt="D", color=COLOURS[0], capsize=4, markersize=6, zorder=4)
            text = f"{mean:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")
            axes.annotate(text, (1.01, place), xycoords=axes.get_yaxis_transform(), va="center", annotation_clip=False)
        axes.axvline(0, color=SOFT, linewidth=1)
        axes.set_yticks(range(len(methods)), [shortened(method.label, 30) for method in methods])
        axes.set(title=title, xlabel=unit, ylim=(len(methods) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        return finish(f"{title}: one line a method")
