"""The tables of a comparison as CSV, Markdown and LaTeX, beside the page.

A CSV file is one table with all digits, for programs: report-methods.csv, report-further.csv, report-tests.csv,
report-runs.csv. report.md and report.tex hold all tables, as they are shown on the page, for people and for papers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.evaluation.comparison.tables import NOTHING, Table, cell_text
from mas_triplets.files import write_text

_OURS = (".csv", ".md", ".tex")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    NOTHING: "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\`*_|~\[\]])")


def write_tables(out: Path, title: str, tables: Sequence[Table]) -> list[Path]:
    """Write the tables beside the page `out` and return their files.

    Raises:
        UserError: the page itself has the name of one of them.
    """
    check_page_name(out)
    stem = out.with_suffix("") if out.suffix.lower() in (".html", ".htm") else out
    files = {stem.with_name(f"{stem.name}-{table.name}.csv"): csv_text(table) for table in tables}
    files[stem.with_name(f"{stem.name}.md")] = markdown_text(title, tables)
    files[stem.with_name(f"{stem.name}.tex")] = latex_text(title, tables)
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def check_page_name(out: Path) -> None:
    """Raise UserError if the page has the ending of a table."""
    if out.suffix.lower() in _OURS:
        raise UserError(
            f"{out} is the name of a table: give that of the page, such as {out.with_suffix('.html')}; the tables are "
            "written beside it"
        )


def csv_text(table: Table) -> str:
    """Return a table as CSV: a column for each number and one, KEY_sd, for its deviation; empty where not defined."""
    keys = []
    for column in table.columns:
        keys += [column.key, f"{column.key}_sd"] if table.spread(column) else [column.key]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([_plain(row.get(key)) for key in keys] for row in table.rows)
    return text.getvalue()


def _plain(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def markdown_text(title: str, tables: Sequence[Table]) -> str:
    """Return the tables as Markdown, what is best in bold."""
    made = [f"# {_markdown(title)}\n"]
    for table in tables:
        made.append(f"## {_markdown(table.title)}\n")
        if table.caption:
            made.append(f"{_markdown(table.caption)}\n")
        rows = [[_markdown(column.title) for column in table.columns]]
        rows.append(["---" if column.kind == "text" else "---:" for column in table.columns])
        for number, row in enumerate(table.rows):
            cells = [(_markdown(cell_text(row, c)), (number, c.key) in table.best) for c in table.columns]
            rows.append([f"**{text}**" if best else text for text, best in cells])
        made.append("".join(f"| {' | '.join(row)} |\n" for row in rows))
    return "\n".join(made)


def _markdown(text: str) -> str:
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def latex_text(title: str, tables: Sequence[Table]) -> str:
    r"""Return the tables as LaTeX with booktabs, what is best in bold; to be read with `\input`."""
    made = [f"% {_one_line(title)}: needs \\usepackage{{booktabs}}\n"]
    for table in tables:
        form = "".join("l" if column.kind == "text" else "r" for column in table.columns)
        head = " & ".join(latex(column.title) for column in table.columns)
        lines = [f"% {table.title}. {_one_line(table.caption)}".rstrip(), rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
        lines += [rf"{head} \\", r"\midrule"]
        for number, row in enumerate(table.rows):
            cells = [(latex(cell_text(row, c)), (number, c.key) in table.best, c.kind) for c in table.columns]
            shown = [_signed(text) if kind == "number" else text for text, _, kind in cells]
            shown = [_bold(text) if best else text for text, (_, best, _) in zip(shown, cells, strict=True)]
            lines.append(rf"{' & '.join(shown)} \\")
        made.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""]))
    return "\n".join(made)


def latex(text: str) -> str:
    r"""Return text with what has a meaning to LaTeX escaped.

    >>> print(latex("layer_mean & 50% <a>"))
    layer\_mean \& 50\% \textless{}a\textgreater{}
    """
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _signed(text: str) -> str:
    return f"$-${text[1:]}" if text.startswith("-") and text != "--" else text


def _bold(text: str) -> str:
    mean, middle, spread = text.partition(r" $\pm$ ")
    return rf"\textbf{{{mean}}}{middle}{spread}"
