"""Reading a source's Matlab files, which may be damaged or be those of another data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from data_prep.places import check_readable
from mas_triplets.errors import UserError

_NOT_READ = 3
_SECONDS = 1200  # anno_bbox.mat of HICO-DET takes a minute or two


def load_variable(path: Path, name: str, what: str) -> Any:
    """Return one variable of a Matlab file as plain lists, dictionaries, numbers and text.

    It is read in a process of its own, since SciPy's reader can end the whole process on a damaged file. A struct is a
    dictionary, an array or a cell array a list; but of one struct or one text alone, the list is left away.

    Args:
        path: the file.
        name: of the variable.
        what: what the file should be, for the person who gave another.

    Raises:
        UserError: the file is absent, is no Matlab file of version 5 to 7, is damaged, or lacks the variable.
    """
    remedy = f"it should be {what}"
    check_readable(path, remedy)
    command = [sys.executable, "-P", "-m", "data_prep.mat_files", str(path.absolute()), name]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} is not read after {_SECONDS} seconds: it is damaged, get it anew; {remedy}") from None
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode == _NOT_READ:
        raise UserError(f"{path} {done.stderr.decode(errors='replace').strip()}: {remedy}")
    raise UserError(f"{path} cannot be read as a Matlab file: it is damaged, get it anew; {remedy}")


def listed(value: Any) -> list[Any]:
    """Return the structs of an array; one alone comes as itself, none as an empty list."""
    return [value] if isinstance(value, dict) else value if isinstance(value, list) else []


def whole(value: Any) -> int | None:
    """Return a whole number, which Matlab may keep as a float; None for anything else."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def is_text(record: Any, key: str) -> bool:
    """Whether `record` is a struct that holds text under `key`."""
    return isinstance(record, dict) and isinstance(record.get(key), str) and bool(record[key])


def _main(path: str, name: str) -> int:
    """Print one variable as JSON; or say on standard error why not."""
    try:
        found = loadmat(path, simplify_cells=True, variable_names=[name])
        if name in found:
            print(json.dumps(found[name], default=_plain))
            return 0
        reason = f"has no variable {name}"
    except NotImplementedError:
        reason = "is a Matlab file of version 7.3, which is not read; save it with -v7"
    except Exception as error:  # a damaged file may raise anything in SciPy's reader; what it was is told
        reason = f"cannot be read as a Matlab file ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
    print(reason, file=sys.stderr)
    return _NOT_READ


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return None  # a function handle or the like, which no reader asks for


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
