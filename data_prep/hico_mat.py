"""The Matlab files of HICO-DET: anno.mat has the 600 interactions, anno_bbox.mat the boxes of each picture."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.mat_files import is_text, listed, load_variable, whole
from data_prep.records import Rejected
from mas_triplets.errors import UserError

Pair = tuple[str, str, str, Any, Any]
_WHAT = "HICO-DET's, with anno.mat and anno_bbox.mat in one folder"
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
        if not path.exists():
            path = self._folder / "anno_bbox.mat"  # which has the list too
        found = listed(load_variable(path, "list_action", _WHAT))
        if not found or not all(is_text(action, "nname") and is_text(action, "vname") for action in found):
            raise UserError(f"{path}: list_action has no nname and vname: it should be HICO's anno.mat")
        return [(action["nname"], action["vname"]) for action in found]

    @cached_property
    def _boxes(self) -> dict[str, Any]:
        path = self._folder / "anno_bbox.mat"
        return {part: listed(load_variable(path, f"bbox_{part}", _WHAT)) for part in ("train", "test")}

    def scenes(self, part: str) -> Iterator[tuple[str | None, tuple[int, int] | None, Iterator[Pair | Rejected]]]:
        """Yield each picture's file name (None where it has none), size, and pairs."""
        for place, record in enumerate(self._boxes[part]):
            name = record["filename"] if is_text(record, "filename") else None
            told = record.get("size") if isinstance(record, dict) else None
            sides = [told.get(side) for side in ("width", "height")] if isinstance(told, dict) else [None, None]
            known = [side for side in map(whole, sides) if side is not None and side > 0]
            size = (known[0], known[1]) if len(known) == 2 else None
            source = f"anno_bbox.mat#{part}/{place}"
            yield name, size, self._pairs(record.get("hoi") if isinstance(record, dict) else None, source)

    def _pairs(self, given: Any, source: str) -> Iterator[Pair | Rejected]:
        for place, hoi in enumerate(listed(given)):
            where = f"{source}/{place}"
            number = whole(hoi.get("id")) if isinstance(hoi, dict) else None
            if number is None:
                yield Rejected(where, "malformed record", "the interaction has no number")
                continue
            if not 1 <= number <= len(self._actions):
                yield Rejected(where, "index out of range", f"interaction {number}")
                continue
            thing, verb = self._actions[number - 1]
            people, things = listed(hoi.get("bboxhuman")), listed(hoi.get("bboxobject"))
            links = hoi.get("connection")
            if links == []:
                yield Rejected(where, "no box", f"{verb} {thing} is not to be seen (invis)")
                continue
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


def _is_pair(link: Any) -> bool:
    return isinstance(link, list) and len(link) == 2 and all(whole(end) is not None for end in link)


def _sides(box: Any) -> Any:
    """Return the sides as plain numbers, or what is there instead, which is then told."""
    sides = [box.get(side) for side in _SIDES] if isinstance(box, dict) else box
    if not isinstance(sides, list) or not all(isinstance(side, int | float) for side in sides):
        return None
    return [float(side) for side in sides]
