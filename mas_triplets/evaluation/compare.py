"""Several runs in one table and one HTML file, where their numbers can be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.numbers import COLUMNS, run_row, seed_row
from mas_triplets.evaluation.comparison.page import page_text
from mas_triplets.evaluation.comparison.runs import check_comparable, methods_of, read_entries
from mas_triplets.evaluation.sections.examples import Example
from mas_triplets.training.run_folder import RunFolder

__all__ = ["COLUMNS", "compare"]


def compare(
    runs: Sequence[RunFolder | str | Path],
    out: str | Path | None,
    *,
    title: str = "",
    examples: Sequence[Example] = (),
) -> dict[str, Any]:
    """Write one HTML file that compares evaluated runs, and return its numbers as plain values.

    Args:
        runs: runs on the same data, split and part, or their folders.
        out: the file to write; None for the numbers alone.
        title: the page's heading.
        examples: pictures to show at the end, in this order; plain tuples (title, picture, caption) will do.

    Returns:
        `rows`: one a run (name, strategy, strength, seed and the numbers; None where not defined), the lower
        bound first and the upper bound last; `seeds`: where several runs differ in their seed alone, one row a method
        with the mean and, under NAME_sd, the standard deviation of each number; `report`: the file, or None.

    Raises:
        UserError: no run, one given twice, one not evaluated or not finished, or runs whose numbers cannot be compared.
    """
    entries = read_entries(runs)
    check_comparable(entries)
    rows = [run_row(entry, entries) for entry in entries]
    methods = methods_of(entries)
    by_entry = {id(entry): row for entry, row in zip(entries, rows, strict=True)}
    seeds = [seed_row(method, [by_entry[id(entry)] for entry in method.entries]) for method in methods]
    several = any(row["runs"] > 1 for row in seeds)
    seeds = seeds if several else []
    if out is not None:
        page = page_text(title or "Methods compared", entries, rows, methods, seeds, examples)
        html.write_page(Path(out), page)
    return {"rows": rows, "seeds": seeds, "report": None if out is None else str(out)}
