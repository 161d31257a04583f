"""What runs in a process that `source_checks.fork_processes_of` forks: imported each time, so it imports little."""

from __future__ import annotations

import importlib
import os
import sys


def in_child(module: str, arguments: list[str], files: list[str]) -> None:
    """Run the module's command, with standard output and error in files."""
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    code = importlib.import_module(module)._main(*arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
