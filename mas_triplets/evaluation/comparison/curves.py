"""Forgetting against plasticity: one point a method and strength, from the runs or from a search of strengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.methods import Method
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.plots.tradeoff import FEW, Trade, one_of_many, tradeoff


@dataclass(frozen=True)
class CurvePoint:
    """A method with one strength, mean over its runs.

    Attributes:
        method: what the method is called; points of one method are joined by a line.
        strength: what decides how much it keeps; None for a method without one.
        plasticity: mean_j R[j,j] of own-task mAP.
        forgetting: of own-task mAP.
        average: own-task mAP after the last task.
        all: mAP of all facts over all pictures after the last task.
        runs: how many runs it is the mean of.
    """

    method: str
    strength: float | None
    plasticity: float
    forgetting: float
    average: float
    all: float
    runs: int


def points_of(methods: Sequence[Method], rows: Sequence[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return the points of the methods whose plasticity and forgetting are defined.

    Args:
        methods: the methods.
        rows: the numbers of each: `method_row`.
    """
    return [
        CurvePoint(
            method.family,
            method.strength,
            plasticity=row["plasticity"],
            forgetting=row["forgetting"],
            average=row["average"],
            all=row["all"],
            runs=row["runs"],
        )
        for method, row in zip(methods, rows, strict=True)
        if all(row[name] is not None for name in ("plasticity", "forgetting", "average", "all"))
    ]


def curve_section(points: Sequence[CurvePoint], curves: Sequence[CurvePoint]) -> Html | None:
    """Show the points of the runs if one method has several strengths, and those of a search; None without either."""
    strengths: dict[str, set[float | None]] = {}
    for point in points:
        strengths.setdefault(point.method, set()).add(point.strength)
    made = []
    if any(len(found) > 1 for found in strengths.values()):
        made.append(_drawings(points, "Forgetting against plasticity", "The runs of this comparison."))
    if curves:
        title = "Forgetting against plasticity, strengths tried"
        made.append(_drawings(curves, title, "The search of strengths, on validation pictures."))
    if not made:
        return None
    text = (
        "A strength buys less forgetting with less plasticity: how well each task is learnt in its turn, mean_j R[j,j] "
        "of own-task mAP. Of two methods the better one is further right at the same height: it learns more for what "
        "it forgets. A number is the strength."
    )
    return html.join((element("p", text), *made))


def _drawings(points: Sequence[CurvePoint], title: str, what: str) -> Html:
    """Return the drawing of all methods and, where they are many, one a method to fold out."""
    trades = _trades(points)
    overview = html.figure(tradeoff(trades, title=title), f"{what} {_runs(points)}")
    if len(trades) <= FEW:
        return overview
    apart = html.grid(*(html.figure(one_of_many(trades, number)) for number in range(len(trades))), kind="small")
    return html.join((overview, html.details("Each method before the others", apart)))


def _trades(points: Sequence[CurvePoint]) -> list[Trade]:
    """Return one line a method, its points by strength."""
    grouped: dict[str, list[CurvePoint]] = {}
    for point in points:
        grouped.setdefault(point.method, []).append(point)
    made = []
    for method, found in grouped.items():
        found = sorted(found, key=lambda point: -1.0 if point.strength is None else point.strength)
        labels = ["" if point.strength is None else f"{point.strength:g}" for point in found]
        made.append(Trade(method, [p.plasticity for p in found], [p.forgetting for p in found], labels))
    return made


def _runs(points: Sequence[CurvePoint]) -> str:
    counts = sorted({point.runs for point in points})
    told = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return "Each point is one run." if counts == [1] else f"Each point is the mean of {told} runs."
