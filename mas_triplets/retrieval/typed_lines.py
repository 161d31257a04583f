"""Lines as they are typed at a prompt: history that lasts, and completion, by readline of the standard library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

_PROMPT = "query> "
_MOST_LINES = 1000


def history_file() -> Path:
    """Return where lines are remembered: mas-triplets/history in $XDG_STATE_HOME, by default in ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path("~/.local/state").expanduser()) / "mas-triplets" / "history"


def typed_lines(completions: Callable[[str], list[str]], history: Path) -> Iterator[str]:
    """Yield lines until the input ends; from a terminal with history and completion, else as they stand in it.

    Ctrl-C gives up the line that is being typed, Ctrl-D at its beginning ends the input. A history that cannot be read
    or written is done without.

    Args:
        completions: from what is typed before the cursor to what its last word may become.
        history: file of earlier lines, which is written at the end.
    """
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    line_editor = _prepared(completions, history)
    try:
        while True:
            try:
                yield input(_PROMPT)
            except KeyboardInterrupt:
                print()
            except EOFError:
                print()
                return
    finally:
        if line_editor is not None:
            with suppress(OSError):
                history.parent.mkdir(parents=True, exist_ok=True)
                line_editor.write_history_file(history)


def _prepared(completions: Callable[[str], list[str]], history: Path) -> ModuleType | None:
    try:
        import readline
    except ImportError:  # a Python that was built without it
        return None
    found: list[str] = []

    def complete(text: str, state: int) -> str | None:
        del text
        if state == 0:
            found[:] = completions(readline.get_line_buffer()[: readline.get_endidx()])
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" <,")
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    readline.set_history_length(_MOST_LINES)
    with suppress(OSError):
        readline.read_history_file(history)
    return readline
