"""What every number on a page means, and the links that lead there from where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.html import Html, element

MEASURES = {
    "average": "average",
    "all": "all",
    "backward_transfer": "backward transfer",
    "forgetting": "forgetting",
    "forward_transfer": "forward transfer",
}
"""What is told of every matrix, and the heading of its column."""


def definition_list(results: Mapping[str, Any], measures: Iterable[str]) -> Html:
    """Return what every metric, measure, gallery and policy means; `#def-NAME` leads to each."""
    metrics: dict[str, str] = {}
    for galleries in results["matrices"].values():
        for policies in galleries.values():
            for found in policies.values():
                metrics |= {name: record.get("definition", "") for name, record in found.items()}
    over = {
        name: "Over all queries of the tasks seen so far." if name == "all" else definition(name) for name in measures
    }
    groups = (
        ("Metrics", metrics),
        ("Over the tasks, from R[i,j] = score on task j after learning task i, of T tasks", over),
        ("Galleries: what is ranked", results.get("galleries", {})),
        ("Policies: whose vectors are ranked", results.get("policies", {})),
    )
    made: list[Html] = []
    for title, pairs in groups:
        made.append(element("h3", title))
        made.append(
            html.terms(
                (element("span", name.replace("_", " "), id=_anchor(name)), text) for name, text in pairs.items()
            )
        )
    return html.join(made)


def metric_link(name: str) -> Html:
    """Return the name of a metric or measure with a link to its definition."""
    return element("a", MEASURES.get(name, name.replace("_", " ")), href=f"#{_anchor(name)}")


def _anchor(name: str) -> str:
    return "def-" + "".join(character if character.isalnum() else "-" for character in name)
