"""How far the vectors of earlier tasks' pictures have moved since they were put into the gallery, a line a method."""

from __future__ import annotations

from collections.abc import Sequence

from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import mean_of_earlier, over_runs
from mas_triplets.evaluation.comparison.figures import band_note
from mas_triplets.evaluation.comparison.methods import BOUNDS, Method
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.plots.methods import Curve, mean_curves


def drift_section(methods: Sequence[Method], tasks: int) -> Html | None:
    """Show the mean drift over the earlier tasks after each task; None if it was not measured, or for a single task."""
    curves = [curve for method in methods if (curve := drift_curve(method)) is not None]
    if tasks < 2 or not curves:
        return None
    definition = next(
        found["definition"] for method in methods for entry in method.entries if (found := entry.results.get("drift"))
    )
    drawing = mean_curves(
        curves, tasks, title="Drift of the vectors of earlier tasks", unit="1 − mean cosine, lower is better"
    )
    text = "What a gallery whose pictures keep their old vectors has to bear: they no longer fit what the model asks."
    return html.join(
        (
            element("p", text),
            html.figure(drawing, f"Mean over the earlier tasks. {definition} {band_note(methods) or ''}".rstrip()),
        )
    )


def drift_curve(method: Method) -> Curve | None:
    """Return the method's mean drift over the earlier tasks after each task; None if a run lacks it.

    Joint training has none: it learns all tasks at once.
    """
    found = [entry.results.get("drift") for entry in method.entries]
    if method.strategy == "joint" or any(record is None for record in found):
        return None
    means, spread = over_runs([mean_of_earlier(record["matrix"]) for record in found if record is not None])
    role = method.strategy if method.strategy in BOUNDS else ""
    return Curve(method.label, means, spread if len(found) > 1 else None, role)
