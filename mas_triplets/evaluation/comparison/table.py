"""The main table of a comparison: a row a run, and a row a method where several runs differ in their seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.numbers import BOUNDS, COLUMNS, best_cells
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.sections.definitions import metric_link


def main_section(rows: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]]) -> Html:
    """Show what the comparison is about: methods over seeds, if there are several, and each run; the best is marked."""
    made: list[Html] = [
        element(
            "p",
            "Of own-task mAP, but for “all”: mAP of all facts over all pictures. Best of each column ",
            element("span", "marked", class_="best"),
            ", joint training left out: it sees every picture at every time. Finetuning does nothing against "
            "forgetting. Little forgetting alone is no merit: who learns nothing forgets nothing.",
        ),
    ]
    links = [metric_link(name) for name in COLUMNS]
    if seeds:
        best = best_cells(seeds)
        body = []
        for row in seeds:
            cells: list[Content] = [_named(row["method"], row["strategy"]), row["runs"]]
            for name in COLUMNS:
                spread = row[f"{name}_sd"]
                shown = html.join((row[name], "" if spread is None else f" ± {spread:.3f}"))
                cells.append(element("span", shown, class_="best") if (id(row), name) in best else shown)
            body.append(cells)
        made.append(element("h3", "Over seeds"))
        made.append(
            html.table(
                ["method", "n", *links],
                [body],
                caption="Mean and standard deviation over n runs that differ in their seed alone. A difference smaller "
                "than the deviations is no evidence of one.",
            )
        )
        made.append(element("h3", "Each run"))
    best = best_cells(rows)
    body = []
    for row in rows:
        strength = None if row["strength"] is None else f"{row['strength']:g}"
        numbers = [
            element("span", row[name], class_="best") if (id(row), name) in best else row[name] for name in COLUMNS
        ]
        body.append([_named(row["name"], row["strategy"]), row["strategy"], strength, str(row["seed"]), *numbers])
    made.append(html.table(["run", "strategy", "strength", "seed", *links], [body], text_columns=2))
    return html.join(made)


def _named(name: str, strategy: str) -> Content:
    if strategy not in BOUNDS:
        return name
    return html.join((name, element("span", BOUNDS[strategy], class_="tag")))
