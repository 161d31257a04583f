"""All numbers of a run as tables: every metric, gallery, policy and measure, and by kind of fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.sections.definitions import MEASURES, metric_link

DIRECTION_TITLES = {
    "fact_to_image": "From a fact to its pictures",
    "image_to_fact": "From a picture to its facts",
    "image_to_fact_generalised": "From a picture to its facts, generalisations of them being right too",
}
"""The headings of the directions of retrieval."""


def measure_section(results: Mapping[str, Any]) -> Html:
    """Show every measure of every metric, gallery and policy."""
    made = [
        element(
            "p",
            "After the last task, mean over tasks; a dash where a measure is not defined. Each name leads to its "
            "definition. R and more digits are in results.json.",
        ),
    ]
    head = ["metric", "gallery", "policy", *(metric_link(name) for name in MEASURES)]
    for direction, galleries in results["matrices"].items():
        bodies: dict[str, list[list[Content]]] = {}
        for gallery, policies in galleries.items():
            for policy, found in policies.items():
                for name, record in found.items():
                    values = [record.get(measure) for measure in MEASURES]
                    bodies.setdefault(name, []).append([metric_link(name), gallery, policy, *values])
        made.append(element("h3", DIRECTION_TITLES.get(direction, direction)))
        made.append(html.table(head, list(bodies.values()), text_columns=3))
    return html.join(made)


def group_section(results: Mapping[str, Any]) -> Html | None:
    """Show every `by_...` of the results: a definition, and one record of numbers for each kind of fact."""
    made: list[Html] = []
    for key, found in results.items():
        if not key.startswith("by_") or not isinstance(found, dict):
            continue
        groups = {name: record for name, record in found.items() if isinstance(record, dict)}
        columns = list(dict.fromkeys(column for record in groups.values() for column in record))
        rows = [
            [name, *(record.get(column) for column in columns), _meter(record.get("map"))]
            for name, record in groups.items()
        ]
        head = [key.removeprefix("by_").replace("_", " "), *(metric_link(c) if c == "map" else c for c in columns), ""]
        made.append(html.table(head, [rows], caption=found.get("definition")))
    return html.join(made) if made else None


def _meter(value: float | None) -> Html:
    if value is None:
        return Html("")
    width = f"width:{100 * min(max(value, 0.0), 1.0):.1f}%"
    return element("span", element("span", style=width), class_="meter", title=f"{value:.3f} of 1")
