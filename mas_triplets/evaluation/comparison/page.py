"""The page of a comparison: its sections in order, and those that are plain tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.figures import matrix_section, plot_section
from mas_triplets.evaluation.comparison.numbers import COLUMNS
from mas_triplets.evaluation.comparison.runs import LABELLED, Entry, Method, differing
from mas_triplets.evaluation.comparison.table import main_section
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.sections.definitions import definition_list, metric_link
from mas_triplets.evaluation.sections.examples import Example, example_section
from mas_triplets.evaluation.sections.measures import DIRECTION_TITLES


def page_text(
    title: str,
    entries: Sequence[Entry],
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[Method],
    seeds: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
) -> str:
    """Return the whole page.

    Args:
        title: its heading.
        entries: the runs.
        rows: the numbers of each.
        methods: the runs by method.
        seeds: the numbers of each method; none if every method has one run.
        examples: pictures to show at the end.
    """
    about = entries[0].results["run"]
    by_name = {entry.name: row for entry, row in zip(entries, rows, strict=True)}
    parts: list[tuple[str, str, Html | None]] = [
        ("table", "The runs", main_section(rows, seeds)),
        ("plots", "At a glance", plot_section(methods, by_name, len(about["tasks"]))),
        ("matrices", "The matrices", matrix_section(entries)),
        ("others", "Other metrics, galleries and policies", _other_section(entries)),
        ("settings", "What differs between the runs", settings_section(entries)),
        ("definitions", "Definitions", definition_list(entries[0].results, (*COLUMNS, "forward_transfer"))),
        ("examples", "Example retrievals", example_section(examples)),
    ]
    parts = [part for part in parts if part[2] is not None]
    tasks = "1 task" if len(about["tasks"]) == 1 else f"{len(about['tasks'])} tasks"
    count = "1 run" if len(entries) == 1 else f"{len(entries)} runs"
    version = entries[0].run.record.get("versions", {}).get("mas-triplets", "")
    return html.page(
        title,
        f"{count} on {tasks} of {about['data']}, split {about['split']}, measured on {about['part']}",
        [(anchor, name) for anchor, name, _ in parts],
        *(html.section(name, content, anchor=anchor) for anchor, name, content in parts),
        element("footer", f"Made by mas-triplets {version} from the results.json of each run."),
    )


def _other_section(entries: Sequence[Entry]) -> Html:
    made: list[Html] = []
    for direction, galleries in entries[0].results["matrices"].items():
        made.append(element("h3", DIRECTION_TITLES.get(direction, direction)))
        for gallery, policies in galleries.items():
            for policy, metrics in policies.items():
                measures = ["average", *(["all"] if gallery == "generalized" else []), "forgetting"]
                head = ["run", *(Html(f"{metric_link(name)}<br>{measure}") for name in metrics for measure in measures)]
                body = []
                for entry in entries:
                    found = entry.results["matrices"][direction][gallery][policy]
                    numbers = [found.get(name, {}).get(measure) for name in metrics for measure in measures]
                    body.append([entry.name, *numbers])
                made.append(html.details(f"{gallery} gallery, {policy} vectors", html.table(head, [body])))
    return html.join(made)


def settings_section(entries: Sequence[Entry]) -> Html:
    """Show the settings and versions that differ, other than what runs are labelled by."""
    keys = differing(entries, lambda key: key not in LABELLED)
    body = [[key, *(str(entry.settings[key]) for entry in entries)] for key in keys]
    releases = [entry.run.record.get("versions", {}) for entry in entries]
    for name in releases[0]:
        if len({str(found.get(name)) for found in releases}) > 1:
            body.append([f"version of {name}", *(str(found.get(name)) for found in releases)])
    if not body:
        return element("p", "Nothing but strategy, strength and seed: all other settings and versions are the same.")
    head = ["setting", *(entry.name for entry in entries)]
    return html.join(
        (
            element(
                "p",
                "Besides strategy, strength and seed. Where a method is also trained otherwise, the table above "
                "compares both at once.",
            ),
            html.table(head, [body], text_columns=len(head)),
        )
    )
