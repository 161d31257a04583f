"""Importance by parameter tensor: its distribution after one task, and its mean task by task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mas_triplets.evaluation.averages import Matrix
from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots.canvas import COLOURS, INK, WIDTH, drawing, readable_on
from mas_triplets.evaluation.plots.labels import plain_tick, shortened


@dataclass(frozen=True)
class LayerImportance:
    """Importance in one parameter tensor, as multiples of the mean over all parameters."""

    name: str
    mean: float
    low: float
    middle: float
    high: float
    max: float


def importance_bars(layers: Sequence[LayerImportance], *, title: str) -> Html:
    """Draw the mean importance of each tensor as a bar from 1, the mean over all parameters, on a log scale."""
    top = max(layer.max for layer in layers)
    positive = [value for layer in layers for value in (layer.mean, layer.middle, layer.low) if value > 0]
    floor = max(min(positive, default=1.0), top * 1e-7) / 1.6
    with drawing(WIDTH, 100 + 21 * len(layers)) as (figure, finish):
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(plain_tick)
        axes.xaxis.set_minor_formatter("")
        for place, layer in enumerate(layers):
            low, mean, middle, high, most = (
                max(value, floor) for value in (layer.low, layer.mean, layer.middle, layer.high, layer.max)
            )
            axes.barh(place, mean - 1, left=1, height=0.62, color="#9dbfe0", edgecolor=COLOURS[0], linewidth=0.8)
            axes.hlines(place, low, high, color=INK, linewidth=1.2)
            axes.plot(middle, place, "|", color=INK, markersize=9, markeredgewidth=1.6)
            axes.plot(most, place, "d", color=INK, fillstyle="none", markersize=5.5)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_yticks(range(len(layers)), [shortened(layer.name, 30, keep="end") for layer in layers])
        axes.set(title=title, xlabel="times the mean over all parameters (log scale)")
        axes.set(ylim=(len(layers) - 0.4, -0.6), xlim=(floor, max(top, 1.0) * 1.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        return finish(f"{title}: mean, quantiles and maximum of each parameter tensor")


def importance_by_task(names: Sequence[str], means: Matrix, *, title: str) -> Html:
    """Draw the mean importance of each tensor (rows) measured after each task (columns), darker = more important."""
    tasks = [str(number + 1) for number in range(len(means[0]))]
    return importance_grid(names, means, tasks, title=title, unit="measured after task")


def importance_grid(names: Sequence[str], means: Matrix, columns: Sequence[str], *, title: str, unit: str) -> Html:
    """Draw the mean importance of each tensor (rows) in each of some columns, darker = more important.

    Args:
        names: of the tensors.
        means: (names, columns) multiples of the mean over all parameters; None where there is none.
        columns: what each column is told by.
        title: above the drawing.
        unit: what the columns are.
    """
    count = len(columns)
    slanted = max(map(len, columns)) > 4
    known = [math.log10(value) for row in means for value in row if value]
    low, high = min(known, default=0.0), max(known, default=1.0)
    cell = (WIDTH - 190) / count
    with drawing(WIDTH, (186 if slanted else 86) + 21 * len(names)) as (figure, finish):
        axes = figure.add_subplot()
        axes.set(xlim=(0, count), ylim=(len(names), 0), title=title, xlabel=unit)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for i, row in enumerate(means):
            for j, value in enumerate(row):
                if value is None:
                    continue
                part = (math.log10(value) - low) / (high - low or 1.0) if value > 0 else 0.0
                grey = 0.97 - 0.75 * part
                axes.fill((j, j + 1, j + 1, j), (i, i, i + 1, i + 1), facecolor=str(grey), edgecolor="white")
                colour = readable_on((grey, grey, grey))
                text = f"{value:.2g}" if cell > 22 else ""
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9, color=colour, in_layout=False)
        style: Any = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks([j + 0.5 for j in range(count)], [shortened(column, 22) for column in columns], **style)
        axes.set_yticks([i + 0.5 for i in range(len(names))], [shortened(name, 30, keep="end") for name in names])
        return finish(f"{title}: times the mean over all parameters")
