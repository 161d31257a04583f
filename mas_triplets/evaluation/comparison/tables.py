"""The tables of a comparison, as numbers: what the page, the CSV, the Markdown and the LaTeX are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mas_triplets.evaluation.comparison.numbers import COLUMNS, FURTHER, HEADLINES, best_cells, task_columns

NOTHING = "–"
"""What stands where a number is not defined."""

_TITLES = {"all": "all facts", "recovered_all": "recovered (all facts)", "backward_transfer": "backward transfer"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the rows; the deviation, if there is one, is under KEY_sd.
        title: its heading.
        kind: `text` for names, `number` for three decimals with ± their deviation, `p` for p-values, `count`.
        term: the definition that explains it; None where there is none.
    """

    key: str
    title: str
    kind: Literal["text", "number", "p", "count"] = "number"
    term: str | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: what it is called in the name of a file.
        title: its heading.
        caption: what it is, in sentences.
        columns: its columns, the first of which names the row.
        rows: their values by key; None where not defined.
        best: (number of the row, key) of the cells that are marked.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    best: frozenset[tuple[int, str]] = field(default_factory=frozenset)

    def spread(self, column: Column) -> bool:
        """Whether a row has a deviation beside the column's number."""
        return any(row.get(f"{column.key}_sd") is not None for row in self.rows)


def cell_text(row: Mapping[str, Any], column: Column) -> str:
    """Return a cell as it is shown: `0.688 ± 0.108`, `<0.001`, a name, a dash.

    >>> cell_text({"all": 0.6875, "all_sd": 0.125}, Column("all", "all facts"))
    '0.688 ± 0.125'
    >>> cell_text({"p": 0.0004}, Column("p", "p", "p")), cell_text({"p": None}, Column("p", "p", "p"))
    ('<0.001', '–')
    """
    value = row.get(column.key)
    if value is None:
        return NOTHING
    if column.kind in ("text", "count"):
        return f"{value:,}" if isinstance(value, int) and column.kind == "count" else str(value)
    if column.kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    spread = row.get(f"{column.key}_sd")
    return three_decimals(value) + ("" if spread is None else f" ± {spread:.3f}")


def three_decimals(value: float) -> str:
    """Return the number with three decimals, and without the sign of a zero."""
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def method_table(rows: Sequence[Mapping[str, Any]], tasks: int, orders: int) -> Table:
    """Return the table in the form of the papers: a row a method, its score on each task after the last one.

    Args:
        rows: `method_row` of each method.
        tasks: how many tasks there are.
        orders: in how many orders the runs learn them.
    """
    better = {**task_columns(tasks), **HEADLINES}
    caption = (
        "T1, T2, …: own-task mAP of each task after the last one, in the order of learning; average: their mean. Mean "
        "± standard deviation over n runs."
    )
    if orders > 1:
        caption += (
            f" The runs learn the tasks in {orders} orders, so that T1 is whatever came first: a place in the order, "
            "not the same facts in every run."
        )
    head = (Column("method", "method", "text"), Column("runs", "n", "count", "runs"))
    names = (*(Column(name, name, term="tasks") for name in task_columns(tasks)), *map(_number, HEADLINES))
    return Table("methods", "Methods", caption, (*head, *names), rows, best_cells(rows, better))


def further_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return what else is told of a method over its runs."""
    columns = (Column("method", "method", "text"), Column("runs", "n", "count", "runs"), *map(_number, FURTHER))
    caption = "Of own-task mAP. Mean ± standard deviation over n runs."
    return Table("further", "Further measures", caption, columns, rows, best_cells(rows, FURTHER))


def run_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the runs."""
    columns = (
        Column("name", "run", "text"),
        Column("strategy", "strategy", "text"),
        Column("strength", "strength", "text"),
        Column("seed", "seed", "text"),
        *map(_number, COLUMNS),
    )
    told = [{**row, "strength": None if row["strength"] is None else f"{row['strength']:g}"} for row in rows]
    return Table("runs", "Each run", "", columns, told, best_cells(rows, COLUMNS))


def paired_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the table of paired tests; None if there is nothing to test against."""
    if not rows:
        return None
    columns = [
        Column("method", "method", "text"),
        Column("reference", "against", "text"),
        Column("measure", "measure", "text"),
        Column("pairs", "n", "count", "pairs"),
        Column("difference", "difference", term="difference"),
        Column("p", "p", "p", "p"),
        Column("p_holm", "p, Holm", "p", "p_holm"),
    ]
    if any(row["wilcoxon"] is not None for row in rows):
        columns.append(Column("wilcoxon", "p, Wilcoxon", "p", "wilcoxon"))
        columns.append(Column("wilcoxon_holm", "p, Wilcoxon, Holm", "p", "p_holm"))
    if any(row["note"] for row in rows):
        columns.append(Column("note", "note", "text"))
    caption = (
        "Difference: method minus reference, mean ± standard deviation over the n pairs of runs with the same seed "
        "and order of tasks. p: two-sided paired t-test, not corrected; Holm: corrected for the number of methods "
        "that are tested against the same reference by the same measure. The measures are not independent, and no "
        "correction is made for there being several of them and several references."
    )
    told = [
        {**row, "measure": _TITLES.get(row["measure"], row["measure"]), "difference_sd": row["deviation"]}
        for row in rows
    ]
    return Table("tests", "Paired tests", caption, tuple(columns), told)


def _number(name: str) -> Column:
    return Column(name, _TITLES.get(name, name), term=name)
