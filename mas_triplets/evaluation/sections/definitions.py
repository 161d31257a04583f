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

COMPARISON = {
    "tasks": "T1, T2, …: R[T,j], the score on the task that was learnt first, second, …, after the last task.",
    "runs": "n: how many runs a mean and its standard deviation (n - 1 below) are over: seeds, orders or both.",
    "recovered_all": "recovered, of all-facts mAP instead of the average.",
    "plasticity": "How well each task is learnt in its turn: mean_j R[j,j].",
    "pairs": "n: how many pairs of a run of the method and one of the reference share seed and order of tasks.",
    "difference": "The method's value minus the reference's, mean over the pairs, ± their standard deviation.",
    "p": "Of the two-sided paired t-test: how often so large a mean difference, or a larger one, would come about by "
    "chance if method and reference were alike and differences normal. Not corrected for the number of tests.",
    "p_holm": "p after Holm's correction over the methods that are tested against one reference by one measure: the "
    "smallest of m p-values times m, the next times m - 1, and so on, none smaller than one before it.",
    "wilcoxon": "p of Wilcoxon's two-sided signed-rank test, which takes no shape for granted; told from six pairs on.",
}
"""What only a comparison tells, and what it means."""


def definition_list(results: Mapping[str, Any], measures: Iterable[str]) -> Html:
    """Return what every metric, measure, gallery and policy means; `#def-NAME` leads to each."""
    metrics: dict[str, str] = {}
    for galleries in results["matrices"].values():
        for policies in galleries.values():
            for found in policies.values():
                metrics |= {name: record.get("definition", "") for name, record in found.items()}
    own = {"all": "Over all queries of the tasks seen so far.", **COMPARISON}
    over = {name: own.get(name) or definition(name) for name in measures}
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
    return term_link(name, MEASURES.get(name, name.replace("_", " ")))


def term_link(name: str, text: str) -> Html:
    """Return text with a link to the definition of `name`."""
    return element("a", text, href=f"#{_anchor(name)}")


def _anchor(name: str) -> str:
    return "def-" + "".join(character if character.isalnum() else "-" for character in name)
