"""What every command shares: exit codes, tables and JSON on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mas_triplets.errors import UserError
from mas_triplets.files import to_json

if TYPE_CHECKING:
    import typer

DONE, BUG, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def run(app: typer.Typer) -> NoReturn:
    """Run a command line: exit code 0 done, 2 wrong use or bad input with one sentence, 1 a bug with its traceback."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(DONE)
    except KeyboardInterrupt:
        print("interrupted: what was written so far is whole and stays usable", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(DONE)


def print_json(value: Any) -> None:
    """Print `value` as JSON; nothing else may be printed on standard output by that command."""
    print(to_json(value))


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; the columns are the keys of the first row. No rows print nothing."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in rows[0]:
        number = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in rows[0]))
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
