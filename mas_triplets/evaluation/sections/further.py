"""What a run's results may tell besides its measures: drift of old vectors, swapped roles, accuracy of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.plots.matrix import heat_map

_ACCURACY = ("average", "all", "backward_transfer", "forgetting")


def drift_section(results: Mapping[str, Any]) -> Html | None:
    """Show how far the kept vectors of each task's pictures have moved; None if not measured, or for one task."""
    record, tasks = results.get("drift"), results["run"]["tasks"]
    if not record or len(tasks) < 2 or all(value is None for row in record["matrix"][:-1] for value in row):
        return None
    drawing = heat_map(record["matrix"], tasks, title="Drift of old vectors")
    return html.figure(drawing, record["definition"])


def roles_section(results: Mapping[str, Any]) -> Html | None:
    """Show how often swapped roles are told apart; None if no picture asks for it."""
    record = results.get("swapped_roles")
    if not record:
        return None
    row: list[Content] = ["this run", record["accuracy"], record["pairs"], record["images"]]
    caption = element("p", record["definition"], class_="caption")
    return html.join((caption, html.table(["", "told apart", "pairs of facts", "images"], [[row]])))


def accuracy_section(results: Mapping[str, Any]) -> Html | None:
    """Show the accuracy of single classes; None where facts are more than classes."""
    record = results.get("accuracy")
    if not record:
        return None
    rows: list[list[Content]] = []
    for view, found in record.items():
        if isinstance(found, dict):
            for weight in ("per_image", "per_class"):
                told = found.get(weight, {})
                rows.append([view.replace("_", " "), weight.replace("_", " "), *(told.get(key) for key in _ACCURACY)])
    terms = [(name.replace("_", " "), found["definition"]) for name, found in record.items() if isinstance(found, dict)]
    head = ["told apart", "mean over", *(key.replace("_", " ") for key in _ACCURACY)]
    return html.join((element("p", record["definition"]), html.table(head, [rows], text_columns=2), html.terms(terms)))
