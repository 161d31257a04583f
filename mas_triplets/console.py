"""What every command shares: exit codes, tables and JSON on standard output."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from mas_triplets.errors import Stopped, UserError
from mas_triplets.files import to_json

if TYPE_CHECKING:
    import typer

DONE, BUG, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_PLACE = "give another path, whose folders are folders and which holds nothing of another kind"
_RIGHTS = "give another path, or the right to read and write there"
_REMEDIES = {
    errno.ENOTDIR: _PLACE,
    errno.EEXIST: _PLACE,
    errno.EISDIR: _PLACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: "make room there, or give a path on another disk",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EFBIG: "make room for larger files there, or give a path on another disk",
    errno.EDQUOT: "make room there, or give a path on another disk",
    errno.ELOOP: _PLACE,
}
"""Errors of the system that whoever gave the path can mend; any other is a bug."""


def run(app: typer.Typer) -> NoReturn:
    """Run a command line: exit code 0 done, 2 wrong use or bad input with one sentence, 1 a bug with its traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, it cleans up as after Ctrl-C
    try:
        code = _code(app)
    except UserError as error:
        rank = int(os.environ.get("RANK", "0"))  # one of several processes says which it is
        print(f"error{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        code = WRONG_USE
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        _drop_output()
        code = DONE
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        name = error.filename2 or error.filename or "a file"
        print(f"error: {os.fsdecode(name)}: {error.strerror}; {_REMEDIES[error.errno]}", file=sys.stderr)
        code = WRONG_USE
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("interrupted: what was written so far is whole and stays usable", file=sys.stderr)
    sys.exit(code)


def _code(app: typer.Typer) -> int:
    """Run the command line and return the exit code that Typer has for it; 130 is an interruption."""
    from typer import Abort

    try:
        ended = app(standalone_mode=False)  # the code of an Exit, 130 of Ctrl-C, or what the command returned
        sys.stdout.flush()  # a reader that has gone is noticed here, not when the interpreter ends
    except Abort:
        return INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # Typer makes exit code 1 of it
            raise error.__context__ from None
        raise
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or not isinstance(code, int):
            raise
        show()  # an error of Typer's, or of the Click inside or below it: how the command is used
        return code
    return ended if isinstance(ended, int) else DONE


def _drop_output() -> None:
    """Let what is still to be flushed to a reader that has gone go nowhere, without a message at the very end."""
    with suppress(OSError, ValueError):  # a standard output that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
