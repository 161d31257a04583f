"""The page of a comparison: its sections in order, and those that are plain tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.content import Compared
from mas_triplets.evaluation.comparison.curves import curve_section, points_of
from mas_triplets.evaluation.comparison.drift import drift_section
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.evaluation.comparison.figures import matrix_section, plot_section, task_section
from mas_triplets.evaluation.comparison.importance import importance_section
from mas_triplets.evaluation.comparison.kinds import kind_section
from mas_triplets.evaluation.comparison.methods import LABELLED, differing
from mas_triplets.evaluation.comparison.numbers import COLUMNS
from mas_triplets.evaluation.comparison.shown import method_section, paired_section, run_section
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.sections.definitions import COMPARISON, definition_list, metric_link
from mas_triplets.evaluation.sections.examples import Example, example_section
from mas_triplets.evaluation.sections.measures import DIRECTION_TITLES


def page_text(title: str, compared: Compared, examples: Sequence[Example], retrievals: Html | None) -> str:
    """Return the whole page.

    Args:
        title: its heading.
        compared: the runs, their numbers and tables.
        examples: pictures to show at the end.
        retrievals: what facts find before and after, or None.
    """
    entries, methods, tasks = compared.entries, compared.methods, compared.tasks
    by_name = {entry.name: row for entry, row in zip(entries, compared.rows, strict=True)}
    points = points_of(methods, compared.method_rows)
    measures = (*COLUMNS, "forward_transfer", *COMPARISON)
    parts: list[tuple[str, str, Html | None]] = [
        ("methods", "Methods", method_section(compared.method_table, compared.further_table)),
        ("tests", "Paired tests", paired_section(compared.paired_table)),
        ("table", "The runs", run_section(compared.run_table)),
        ("plots", "At a glance", plot_section(methods, by_name, tasks)),
        ("curves", "Forgetting against plasticity", curve_section(points, compared.curves)),
        ("tasks", "Each task after each task", task_section(methods, tasks)),
        ("retrievals", "Before and after", retrievals),
        ("matrices", "The matrices", matrix_section(entries)),
        ("kinds", "By kind of fact", kind_section(methods)),
        ("importance", "Where importance sits", importance_section(methods)),
        ("drift", "Drift of old vectors", drift_section(methods, tasks)),
        ("others", "Other metrics, galleries and policies", _other_section(entries)),
        ("settings", "What differs between the runs", settings_section(entries)),
        ("definitions", "Definitions", definition_list(entries[0].results, measures)),
        ("examples", "Example retrievals", example_section(examples)),
    ]
    parts = [part for part in parts if part[2] is not None]
    version = entries[0].run.record.get("versions", {}).get("mas-triplets", "")
    return html.page(
        title,
        subtitle(compared),
        [(anchor, name) for anchor, name, _ in parts],
        *(html.section(name, content, anchor=anchor) for anchor, name, content in parts),
        element("footer", f"Made by mas-triplets {version} from the results.json of each run. {_beside(compared)}"),
    )


def subtitle(compared: Compared) -> str:
    """Return what is compared on what, in a line: runs, methods, tasks, data, split, part."""
    about = compared.entries[0].results["run"]
    runs, methods = _counted(len(compared.entries), "run"), _counted(len(compared.methods), "method")
    names = list(dict.fromkeys(entry.split_name for entry in compared.entries))
    split = f"split {names[0]}" if compared.orders == 1 else f"{compared.orders} orders ({', '.join(names)})"
    tasks = _counted(compared.tasks, "task")
    return f"{runs} of {methods} on {tasks} of {about['data']}, {split}, measured on {about['part']}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _beside(compared: Compared) -> str:
    names = ", ".join(f"-{table.name}.csv" for table in compared.tables)
    return f"The same tables are beside this file: with the endings .md and .tex, and as {names}."


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
                    found = _part(entry.results["matrices"], direction, gallery, policy)
                    numbers = [found.get(name, {}).get(measure) for name in metrics for measure in measures]
                    body.append([entry.name, *numbers])
                made.append(html.details(f"{gallery} gallery, {policy} vectors", html.table(head, [body])))
    return html.join(made)


def _part(matrices: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return what stands at the keys, or nothing: runs of an earlier version tell less."""
    for key in keys:
        matrices = matrices.get(key, {})
    return matrices


def settings_section(entries: Sequence[Entry]) -> Html:
    """Show the settings and versions that differ, other than what runs are labelled by."""
    keys = differing(entries, lambda key: key not in LABELLED)
    body = [[key, *(str(entry.settings[key]) for entry in entries)] for key in keys]
    if len({entry.split for entry in entries}) > 1:
        body.insert(0, ["data.split", *(entry.split_name for entry in entries)])
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
                "Besides strategy, strength and seed. Where a method is also trained otherwise, the tables above "
                "compare both at once.",
            ),
            html.table(head, [body], text_columns=len(head)),
        )
    )
