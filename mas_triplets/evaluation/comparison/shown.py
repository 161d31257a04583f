"""The tables of a comparison on its page: each name of a number leads to its definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.methods import BOUNDS
from mas_triplets.evaluation.comparison.tables import NOTHING, Column, Table, cell_text
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.sections.definitions import term_link

_FEW = 3
"""References whose tests are shown without being folded out."""

_MANY = 20
"""Runs whose table is folded, or it would part the page."""

_ASIDE = ("strength", "seed")
"""Texts that stand at the right of their column, like numbers."""


def method_section(methods: Table, further: Table) -> Html:
    """Show the table in the form of the papers, and what else is told of a method."""
    text = element(
        "p",
        "Best of each column ",
        element("span", "marked", class_="best"),
        ", joint training left out: it sees every picture at every time. Finetuning does nothing against forgetting. "
        "Little forgetting alone is no merit: who learns nothing forgets nothing. A difference smaller than the "
        "deviations is no evidence of one; the paired tests below say more.",
    )
    return html.join((text, shown_table(methods), html.details(further.title, shown_table(further))))


def run_section(table: Table) -> Html:
    """Show the table of the runs, to fold out if they are many."""
    text = "Of own-task mAP, but for “all facts”: mAP of all facts over all pictures. Best of each column marked."
    shown = shown_table(table)
    if len(table.rows) > _MANY:
        shown = html.details(f"All {len(table.rows)} runs", shown)
    return html.join((element("p", text), shown))


def paired_section(table: Table | None) -> Html | None:
    """Show the paired tests, to fold out by reference; None if there is nothing to test against."""
    if table is None:
        return None
    references = list(dict.fromkeys(row["reference"] for row in table.rows))
    made = [element("p", table.caption)]
    for number, reference in enumerate(references):
        rows = [row for row in table.rows if row["reference"] == reference]
        part = replace(table, rows=rows, columns=tuple(c for c in table.columns if c.key != "reference"))
        opened = number == 0 or len(references) <= _FEW
        made.append(html.details(f"Against {reference}", _table(part, ("measure",)), opened=opened))
    return html.join(made)


def shown_table(table: Table) -> Html:
    """Return a table with its caption, which stays in view where the table scrolls sideways."""
    caption = (element("p", table.caption, class_="caption"),) if table.caption else ()
    return html.join((*caption, _table(table, ())))


def whole_name(label: str) -> Html:
    """Return what a method is called so that lines break after its commas only."""
    parts = label.split(", ")
    ended = [f"{part}," for part in parts[:-1]] + parts[-1:]
    return html.join((element("span", part, class_="whole") for part in ended), " ")


def _table(table: Table, parted_by: Sequence[str]) -> Html:
    """Return a table; a line is drawn where one of the keys `parted_by` changes."""
    head = [_heading(column) for column in table.columns]
    text_columns = len(
        list(takewhile(lambda column: column.kind == "text" and column.key not in _ASIDE, table.columns))
    )
    bodies = [
        [[_cell(table, number, row, column) for column in table.columns] for number, row in group]
        for _, group in groupby(enumerate(table.rows), lambda pair: [pair[1].get(key) for key in parted_by])
    ]
    return html.table(head, bodies, text_columns=text_columns)


def _heading(column: Column) -> Content:
    return column.title if column.term is None else term_link(column.term, column.title)


def _cell(table: Table, number: int, row: Mapping[str, Any], column: Column) -> Content:
    text = cell_text(row, column)
    if text == NOTHING:
        return None
    if column is table.columns[0]:
        bound = BOUNDS.get(row.get("strategy", ""))
        return html.join((whole_name(text), *([] if bound is None else [element("span", bound, class_="tag")])))
    if column.kind != "number":
        return text
    mean, between, spread = text.partition(" ± ")
    best = (number, column.key) in table.best
    shown: Content = element("span", mean, class_="best") if best else mean
    return html.join((shown, element("span", f"{between}{spread}", class_="spread"))) if between else shown
