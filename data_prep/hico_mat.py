"""The Matlab files of HICO-DET: anno.mat has the 600 interactions, anno_bbox.mat the boxes of each picture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from data_prep.records import Rejected
from mas_triplets.errors import UserError

Pair = tuple[str, str, str, Any, Any]
_NOT_READ = 3
_SIDES = ("x1", "y1", "x2", "y2")


class MatFiles:
    """Both files, read once.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _actions(self) -> list[tuple[str, str]]:
        path = self._folder / "anno.mat"
        found = _listed(load_variable(path, "list_action"))
        if not found or not all(_is_text(action, "nname") and _is_text(action, "vname") for action in found):
            raise UserError(f"{path}: list_action has no nname and vname: it should be HICO's anno.mat")
        return [(action["nname"], action["vname"]) for action in found]

    @cached_property
    def _boxes(self) -> dict[str, Any]:
        return {
            part: _listed(load_variable(self._folder / "anno_bbox.mat", f"bbox_{part}")) for part in ("train", "test")
        }

    def scenes(self, part: str) -> Iterator[tuple[str | None, tuple[int, int] | None, Iterator[Pair | Rejected]]]:
        """Yield each picture's file name (None where it has none), size, and pairs."""
        for place, record in enumerate(self._boxes[part]):
            name = record["filename"] if _is_text(record, "filename") else None
            told = record.get("size") if isinstance(record, dict) else None
            sides = [told.get(side) for side in ("width", "height")] if isinstance(told, dict) else [None, None]
            whole = [side for side in map(_whole, sides) if side is not None and side > 0]
            size = (whole[0], whole[1]) if len(whole) == 2 else None
            source = f"anno_bbox.mat#{part}/{place}"
            yield name, size, self._pairs(record.get("hoi") if isinstance(record, dict) else None, source)

    def _pairs(self, given: Any, source: str) -> Iterator[Pair | Rejected]:
        for place, hoi in enumerate(_listed(given)):
            where = f"{source}/{place}"
            number = _whole(hoi.get("id")) if isinstance(hoi, dict) else None
            if number is None:
                yield Rejected(where, "malformed record", "the interaction has no number")
                continue
            if not 1 <= number <= len(self._actions):
                yield Rejected(where, "index out of range", f"interaction {number}")
                continue
            thing, verb = self._actions[number - 1]
            people, things = _listed(hoi.get("bboxhuman")), _listed(hoi.get("bboxobject"))
            links = hoi.get("connection")
            if links == []:
                continue  # nobody of this interaction can be seen (invis)
            if isinstance(links, list) and not isinstance(links[0], list):
                links = [links]  # one pair alone
            if not isinstance(links, list) or not all(_is_pair(link) for link in links):
                yield Rejected(where, "malformed record", "'connection' is not a list of pairs of whole numbers")
                continue
            for row, (person, other) in enumerate([int(first), int(second)] for first, second in links):
                if not (1 <= person <= len(people) and 1 <= other <= len(things)):
                    yield Rejected(f"{where}/{row}", "index out of range", f"person {person} or thing {other}")
                    continue
                yield (f"{where}/{row}", verb, thing, _sides(people[person - 1]), _sides(things[other - 1]))


def load_variable(path: Path, name: str) -> Any:
    """Return one variable of a Matlab file as plain lists, dictionaries, numbers and text.

    It is read in a process of its own, since SciPy's reader can end the whole process on a damaged file.

    Raises:
        UserError: the file is absent, is no Matlab file of version 5 to 7, is damaged, or lacks the variable.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: put HICO-DET's anno.mat and anno_bbox.mat into one folder")
    command = [sys.executable, "-P", "-m", "data_prep.hico_mat", str(path.absolute()), name]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode == _NOT_READ:
        raise UserError(f"{path} {done.stderr.decode(errors='replace').strip()}")
    raise UserError(f"{path} cannot be read as a Matlab file: it is damaged, get it anew")


def _main(path: str, name: str) -> int:
    """Print one variable as JSON; or say on standard error why not."""
    try:
        found = loadmat(path, simplify_cells=True, variable_names=[name])
        if name in found:
            print(json.dumps(found[name], default=_plain))
            return 0
        reason = f"has no variable {name}: it should be HICO-DET's"
    except NotImplementedError:
        reason = "is a Matlab file of version 7.3: save it with -v7, as HICO-DET's own is"
    except Exception as error:  # a damaged file may raise anything in SciPy's reader; what it was is told
        reason = f"cannot be read as a Matlab file ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
    print(reason, file=sys.stderr)
    return _NOT_READ


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return None  # nothing that HICO-DET has


def _listed(value: Any) -> list[Any]:
    """Return the structs of an array; one alone comes as itself, none as an empty list."""
    return [value] if isinstance(value, dict) else value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    """Return a whole number, which Matlab may keep as a float; None for anything else."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _is_pair(link: Any) -> bool:
    return isinstance(link, list) and len(link) == 2 and all(_whole(end) is not None for end in link)


def _is_text(record: Any, key: str) -> bool:
    return isinstance(record, dict) and isinstance(record.get(key), str) and bool(record[key])


def _sides(box: Any) -> Any:
    """Return the sides as plain numbers, or what is there instead, which is then told."""
    sides = [box.get(side) for side in _SIDES] if isinstance(box, dict) else box
    if not isinstance(sides, list) or not all(isinstance(side, int | float) for side in sides):
        return None
    return [float(side) for side in sides]


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
