"""Several runs in one page and in tables beside it, where their numbers can be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.comparison.content import compared
from mas_triplets.evaluation.comparison.curves import CurvePoint
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.numbers import COLUMNS
from mas_triplets.evaluation.comparison.orders import check_comparable
from mas_triplets.evaluation.comparison.page import page_text
from mas_triplets.evaluation.comparison.retrievals import retrieval_section
from mas_triplets.evaluation.comparison.written import check_page_name, write_tables
from mas_triplets.evaluation.sections.examples import Example
from mas_triplets.progress import SILENT, Silent
from mas_triplets.training.run_folder import RunFolder

__all__ = ["COLUMNS", "CurvePoint", "compare"]


def compare(
    runs: Sequence[RunFolder | str | Path],
    out: str | Path | None,
    *,
    title: str = "",
    examples: Sequence[Example] = (),
    curves: Sequence[CurvePoint] = (),
    retrievals: bool = False,
    progress: Silent = SILENT,
) -> dict[str, Any]:
    """Write one HTML file that compares evaluated runs, its tables beside it, and return the numbers as plain values.

    Beside report.html lie report.md and report.tex, which hold all tables, and report-methods.csv, report-further.csv,
    report-tests.csv (if there is something to test against) and report-runs.csv, one table each.

    Args:
        runs: runs on the same data and part, on one split or, with another seed each, several orders of one kind; or
            their folders.
        out: the file to write; None for the numbers alone.
        title: the page's heading.
        examples: pictures to show at the end, in this order; plain tuples (title, picture, caption) will do.
        curves: points of a search of strengths on validation pictures, to draw besides those of the runs.
        retrievals: whether to ask models again what facts of the first task find, before and after; needs the data set.
        progress: who is told how far that is.

    Returns:
        `rows`: one a run (name, strategy, strength, seed and the numbers; None where not defined), the lower bound
        first and the upper bound last; `methods`: one a method, with the mean and, under NAME_sd, the standard
        deviation of each number over its runs; `tests`: one a method, reference and measure; `report`: the page, or
        None; `files`: the tables written beside it.

    Raises:
        UserError: no run, one given twice, one not evaluated or not finished, or runs whose numbers cannot be compared.
    """
    entries = read_entries(runs)
    check_comparable(entries)
    found = compared(entries, curves)
    files: list[Path] = []
    if out is not None:
        out, title = Path(out), title or "Methods compared"
        check_page_name(out)
        shown = retrieval_section(found.methods, progress) if retrievals else None
        html.write_page(out, page_text(title, found, examples, shown))
        files = write_tables(out, title, found.tables)
    return {
        "rows": list(found.rows),
        "methods": list(found.method_rows),
        "tests": list(found.paired),
        "report": None if out is None else str(out),
        "files": [str(path) for path in files],
    }
