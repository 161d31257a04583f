"""The matrix R of one run: as numbers in colours, and as a curve a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mas_triplets.evaluation.averages import Matrix, mean_of_seen
from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots.canvas import FONT, INK, LINE, WIDTH, drawing, gaps, line_style, readable_on
from mas_triplets.evaluation.plots.labels import count_axis, end_labels, from_zero, shortened


def heat_map(R: Matrix, tasks: Sequence[str], *, title: str, scale: float | None = None, small: bool = False) -> Html:
    """Draw R with its numbers; entries that are None stay blank, and a line leads along what is learnt.

    Args:
        R: (T, T) scores.
        tasks: names of the tasks.
        title: above the drawing.
        scale: the value of the darkest colour; the largest of R if None.
        small: for one of many drawings beside each other.
    """
    count = len(tasks)
    width = 270 if small else WIDTH
    known = [value for row in R for value in row if value is not None]
    scale = scale or max(known, default=1.0) or 1.0
    cell = (width - 70) / count
    with drawing(width, min(cell, 62) * count + (70 if small else 86)) as (figure, finish):
        from matplotlib.colors import LinearSegmentedColormap

        colours = LinearSegmentedColormap.from_list("", ["#f4f8fc", "#9dbfe0", "#2b6cae", "#08264d"])
        axes = figure.add_subplot()
        axes.set(xlim=(0, count), ylim=(count, 0), title=title)
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color=LINE, linewidth=0.8)
        axes.tick_params(length=0)
        size = min(FONT, 3.9 * cell / 10)
        for i, row in enumerate(R):
            for j, value in enumerate(row):
                if value is None:
                    continue
                part = min(max(value / scale, 0.0), 1.0)
                paint = colours(part)
                axes.fill((j, j + 1, j + 1, j), (i, i, i + 1, i + 1), facecolor=paint, edgecolor="white")
                weight = "bold" if j == i else "normal"
                colour = readable_on(paint[:3])
                style: Any = {"ha": "center", "va": "center", "fontsize": size, "color": colour, "weight": weight}
                axes.text(j + 0.5, i + 0.5, _short_number(value, cell), in_layout=False, **style)
        if sum(any(value is not None for value in row) for row in R) > 1:
            stairs = [(x, y) for i in range(count) for x, y in ((i, i), (i + 1, i))] + [(count, count)]
            for colour, thick in (("white", 4.0), (INK, 1.6)):  # seen on dark cells, too
                axes.plot(*zip(*stairs, strict=True), color=colour, linewidth=thick, clip_on=False)
        ticks = [position + 0.5 for position in range(count)]
        axes.set_xticks(ticks, [str(number + 1) for number in range(count)])
        axes.set_yticks(ticks, [str(number + 1) for number in range(count)])
        axes.set_xlabel("score on task")
        axes.set_ylabel("after learning task")
        if min(cell, 62) > 24 or count < 13:
            return finish(f"{title}: matrix of scores, row i after learning task i, column j on task j")
        axes.set_xticks(ticks[::5], [str(number + 1) for number in range(0, count, 5)])
        axes.set_yticks(ticks[::5], [str(number + 1) for number in range(0, count, 5)])
        return finish(f"{title}: matrix of scores, row i after learning task i, column j on task j")


def task_curves(R: Matrix, tasks: Sequence[str], *, title: str, unit: str) -> Html:
    """Draw the score of each task after each task: dotted until the task is learnt, then with markers."""
    count = len(tasks)
    steps = list(range(1, count + 1))
    with drawing(WIDTH, 330 + 9 * max(0, count - 10)) as (figure, finish):
        axes = figure.add_subplot()
        labels = []
        for j in range(count):
            colour, marker, dash = line_style(j)
            column = [row[j] for row in R]
            axes.plot(steps[: j + 1], gaps(column[: j + 1]), color=colour, linestyle=":", linewidth=1.0)
            axes.plot(steps[j:], gaps(column[j:]), color=colour, linestyle=dash, marker=marker)
            name = tasks[j] if tasks[j] == f"task {j + 1}" else f"{j + 1} {shortened(tasks[j], 16)}"
            labels.append((column, name, colour))
        if count > 1:
            mean = mean_of_seen(R)
            axes.plot(steps, gaps(mean), color=INK, linewidth=3.0, zorder=1.5)
            labels.append((mean, "mean of those learnt", INK))
        axes.set(title=title, xlabel="tasks learnt", ylabel=unit, xlim=(min(0.85, 1 - 0.02 * count), count + 0.1))
        count_axis(axes, count)
        from_zero(axes)
        end_labels(axes, labels)
        return finish(f"{title}: score of each task after each task")


def _short_number(value: float, cell: float) -> str:
    if cell > 42:
        return f"{value:.3f}"
    return f"{value:.2f}" if cell > 27 else f"{value:.2f}".replace("0.", ".", 1)
