"""Forgetting against plasticity: one line a method, its points told by their strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots.canvas import COLOURS, INK, SOFT, WIDTH, drawing, line_style
from mas_triplets.evaluation.plots.labels import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEHIND = "#b6bec6"


@dataclass(frozen=True)
class Trade:
    """One line: where a method is with each of its strengths.

    Attributes:
        label: the method.
        plasticity: one a point.
        forgetting: one a point.
        points: what each point is told by; empty for none.
    """

    label: str
    plasticity: Sequence[float]
    forgetting: Sequence[float]
    points: Sequence[str]


FEW = 6
"""Most lines of one drawing whose points are all told; of more, the first and the last of each line are."""


def tradeoff(trades: Sequence[Trade], *, title: str) -> Html:
    """Draw the lines with plasticity to the right and forgetting upwards: below and to the right is better."""
    rows = -(-len(trades) // 2)
    with drawing(WIDTH, 340 + 18 * rows) as (figure, finish):
        axes = figure.add_subplot()
        for number, trade in enumerate(trades):
            colour, marker, dash = line_style(number)
            name = shortened(trade.label, 30)
            axes.plot(trade.plasticity, trade.forgetting, color=colour, marker=marker, linestyle=dash, label=name)
            ends = (0, len(trade.points) - 1)
            told = [text if len(trades) <= FEW or i in ends else "" for i, text in enumerate(trade.points)]
            _tell(axes, trade, told, colour, above=number % 2 == 0)
        _frame(axes, title)
        axes.set(xlabel="plasticity: mAP of each task when learnt", ylabel="forgetting: mAP lost")
        axes.annotate(
            "better",
            (0.985, 0.03),
            (0.85, 0.13),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=INK,
            fontsize=10,
            arrowprops={"arrowstyle": "->", "color": INK},
        )
        figure.legend(loc="outside lower center", ncols=2, fontsize=10, handlelength=3.2)
        return finish(f"{title}: one line a method, to the right it learns more, further down it forgets less")


def one_of_many(trades: Sequence[Trade], chosen: int) -> Html:
    """Draw one of the lines with all its points told, and the others behind it in grey; for many drawings in a row."""
    with drawing(290, 230) as (figure, finish):
        axes = figure.add_subplot()
        for number, trade in enumerate(trades):
            if number != chosen:
                axes.plot(trade.plasticity, trade.forgetting, color=BEHIND, marker=".", linewidth=0.9, markersize=4)
        trade = trades[chosen]
        axes.plot(trade.plasticity, trade.forgetting, color=COLOURS[0], marker="o")
        _tell(axes, trade, trade.points, COLOURS[0], above=True)
        _frame(axes, shortened(trade.label, 34))
        axes.set(xlabel="plasticity", ylabel="forgetting")
        return finish(f"{trade.label}: forgetting against plasticity, the other methods in grey")


def _tell(axes: Axes, trade: Trade, texts: Sequence[str], colour: str, *, above: bool) -> None:
    """Write each point's text beside it; of two lines that run along each other, one above and one below."""
    place, ha = ((-3, 7), "right") if above else ((3, -7), "left")
    for x, y, text in zip(trade.plasticity, trade.forgetting, texts, strict=True):
        style: Any = {"textcoords": "offset points", "ha": ha, "va": "center", "fontsize": 9}
        axes.annotate(text, (x, y), place, color=colour, **style)


def _frame(axes: Axes, title: str) -> None:
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.margins(0.09)
    axes.set(title=title)
