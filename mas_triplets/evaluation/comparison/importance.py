"""Where importance sits: its mean in each parameter tensor, a column a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import whole_mean
from mas_triplets.evaluation.comparison.methods import Method
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.plots.importance import importance_grid
from mas_triplets.evaluation.sections.importance import layer_importance


def importance_section(methods: Sequence[Method]) -> Html | None:
    """Show the importance measured after the last task, mean over a method's runs; None if no method has one.

    Methods that hold all parameters alike have no column.
    """
    found = {method.label: means for method in methods if (means := mean_importance(method)) and _differs(means)}
    if not found:
        return None
    names = list(dict.fromkeys(name for means in found.values() for name in means))
    drawing = importance_grid(
        names,
        [[means.get(name) for means in found.values()] for name in names],
        list(found),
        title="Mean importance, by method",
        unit="",
    )
    text = (
        "Measured after the last task, mean over runs, as multiples of the mean over all parameters: methods whose Ω "
        "has another scale can be compared. Darker is more important, one scale for all. It is what was measured, "
        "before lifelong.normalise and lifelong.control: with normalise: layer all tensors are held alike."
    )
    return html.join((element("p", text), html.figure(drawing)))


def mean_importance(method: Method) -> dict[str, float]:
    """Return the mean importance of each tensor as a multiple of that of all parameters; empty if a run has none."""
    found = []
    for entry in method.entries:
        layers = layer_importance(entry.run, entry.run.stages)
        if not layers:
            return {}
        found.append({layer.name: layer.mean for layer in layers})
    means = {name: whole_mean([one.get(name) for one in found]) for name in found[0]}
    return {name: value for name, value in means.items() if value is not None}


def _differs(means: Mapping[str, float]) -> bool:
    """Whether some tensors count more than others."""
    return len({round(value, 6) for value in means.values()}) > 1
