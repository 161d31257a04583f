"""What a comparison holds: runs, methods, their numbers, and the tables made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mas_triplets.evaluation.comparison.curves import CurvePoint
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.evaluation.comparison.methods import Method, methods_of
from mas_triplets.evaluation.comparison.numbers import method_row, run_row
from mas_triplets.evaluation.comparison.paired import paired_rows
from mas_triplets.evaluation.comparison.tables import Table, further_table, method_table, paired_table, run_table


@dataclass(frozen=True)
class Compared:
    """A comparison.

    Attributes:
        entries: the runs.
        methods: the runs by method.
        tasks: how many tasks there are.
        orders: in how many orders the runs learn them.
        rows: the numbers of each run.
        method_rows: the numbers of each method.
        paired: the paired tests.
        curves: the points of a search of strengths; none if there was none.
    """

    entries: Sequence[Entry]
    methods: Sequence[Method]
    tasks: int
    orders: int
    rows: Sequence[dict[str, Any]]
    method_rows: Sequence[dict[str, Any]]
    paired: Sequence[dict[str, Any]]
    curves: Sequence[CurvePoint]

    @property
    def method_table(self) -> Table:
        """The table of methods, in the form of the papers."""
        return method_table(self.method_rows, self.tasks, self.orders)

    @property
    def further_table(self) -> Table:
        """What else is told of the methods."""
        return further_table(self.method_rows)

    @property
    def paired_table(self) -> Table | None:
        """The paired tests; None if there is nothing to test against."""
        return paired_table(self.paired)

    @property
    def run_table(self) -> Table:
        """The table of runs."""
        return run_table(self.rows)

    @property
    def tables(self) -> list[Table]:
        """All tables, in the order of the page."""
        found = (self.method_table, self.further_table, self.paired_table, self.run_table)
        return [table for table in found if table is not None]


def compared(entries: Sequence[Entry], curves: Sequence[CurvePoint] = ()) -> Compared:
    """Return the comparison of runs that can be compared."""
    tasks = len(entries[0].results["run"]["tasks"])
    rows = [run_row(entry, entries) for entry in entries]
    methods = methods_of(entries)
    by_name = {entry.name: row for entry, row in zip(entries, rows, strict=True)}
    method_rows = [method_row(method, [by_name[e.name] for e in method.entries], tasks) for method in methods]
    orders = len({entry.split for entry in entries})
    return Compared(entries, methods, tasks, orders, rows, method_rows, paired_rows(methods, by_name), curves)
