"""Text and scales of a drawing's axes: short names, ticks, and names at the ends of lines that do not touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mas_triplets.evaluation.averages import Row
from mas_triplets.evaluation.plots.canvas import FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shortened(text: str, length: int, keep: str = "start") -> str:
    """Return text on one line, its start or end kept, with an ellipsis if it is longer than `length`."""
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    return text[: length - 1] + "…" if keep == "start" else "…" + text[-length + 1 :]


def plain_tick(value: float, place: object) -> str:
    """Return the text of a tick on a log axis: 0.01, 1, 100."""
    del place
    return f"{value:g}"


def count_axis(axes: Axes, count: int) -> None:
    """Tick the horizontal axis at tasks 1 to `count`, a dozen ticks at most."""
    axes.set_xticks(range(1, count + 1, max(1, math.ceil(count / 12))))


def from_zero(axes: Axes, room: float = 0.05) -> None:
    """Let the vertical axis begin at 0, unless something is below, and leave some room above."""
    low, high = axes.dataLim.intervaly
    axes.set_ylim(min(0.0, low * 1.05), (high if high > 0 else 1.0) * (1 + room))


def end_labels(axes: Axes, labels: Sequence[tuple[Row, str, str]]) -> None:
    """Write each line's name and last value at the right, moved apart where they would touch."""
    low, high = axes.get_ylim()
    ends = sorted(
        (next(value for value in reversed(values) if value is not None), label, colour)
        for values, label, colour in labels
        if any(value is not None for value in values)
    )
    gap = (high - low) * min(0.058, 0.98 / max(1, len(ends)))
    places = spread_apart([value for value, _, _ in ends], gap, low, high - gap / 2)
    for (value, label, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            f"{label}  {value:.3f}",
            (1.0, value),
            (1.045, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=FONT - 1,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread_apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending `places` moved so that neighbours are at least `gap` apart, within low and high if they fit.

    >>> spread_apart([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    [1.0, 2.0, 5.0]
    >>> spread_apart([9.5, 10.0], 1.0, 0.0, 10.0)
    [9.0, 10.0]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap if moved else low))
    ceiling = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
