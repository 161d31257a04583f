"""SWiG (Pratt et al., ECCV 2020): the situations of imSitu (Yatskar et al., CVPR 2016) with a box for each role.

A picture has a verb; imsitu_space.json lists the verb's roles (agent, item, tool, place and 186 more). Three people
named the noun of each role, or left it empty. The noun of a role is the one that two or three of them chose, in the
first of its glosses; a role where most left it empty gives no fact; one where all three differ is rejected as empty
text, since nothing can be put into its slot.

The subject is the role "agent"; where a verb has none, as in "a TEACHER teaches a STUDENT at a PLACE", it is the first
role of its order that is not the place. It gives <agent, verb>; with every other role but the place it gives <agent,
verb, noun>: what the situation is about (item, victim, vehicle) as well as what it is done with (tool, hand). The place
is where all of it happens and no object of the verb. Every role with a box, the place too, gives <noun>.

Boxes are [x1, y1, x2, y2] of the pictures in images_512, 0-based and half-open, as the authors' loader mirrors them;
four times -1 is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, field, four_numbers, load
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

PARTS = {"train": "train", "dev": "val", "test": "test"}
AGENT, PLACE = "agent", "place"
ANNOTATORS = 3
LARGEST_SIDE = (1 << 31) - 1
_SPACE = "imsitu_space.json"
_WHAT = "SWiG's pictures by their file's name, each {verb, height, width, bb, frames}"
_WHAT_SPACE = "SWiG's nouns and verbs, {nouns, verbs}"


class SwigReader:
    """Reads train.json, dev.json and test.json, those that are there, with the words of imsitu_space.json.

    Args:
        path: the folder that holds them, itself or in SWiG_jsons/, as the authors' repository has them; or one of them.

    Raises:
        UserError: a file is absent or is not SWiG's.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "train.json and imsitu_space.json of SWiG")
        files = {name: _file(path, f"{name}.json") for name in PARTS}
        found = {name: file for name, file in files.items() if only in (None, file.name) and file.exists()}
        if not found:
            raise UserError(
                f"{path} holds none of train.json, dev.json and test.json, nor does its SWiG_jsons: give SWiG's folder"
            )
        space = _file(path, _SPACE)
        words = load(space, dict, _WHAT_SPACE)
        try:
            self._nouns, self._verbs = field(words, "nouns", dict), field(words, "verbs", dict)
        except MalformedError as error:
            raise UserError(f"{space}: {error}; it should be {_WHAT_SPACE}") from None
        self._data = {name: load(file, dict, _WHAT) for name, file in found.items()}
        self.files = [*found.values(), space]
        self.about = About(
            licence="annotations: MIT; pictures: from the web, their owners'",
            citation="Pratt, Yatskar, Weihs, Farhadi, Kembhavi: Grounded Situation Recognition. ECCV 2020",
            notes=(
                f"SWiG, prepared from {', '.join(file.name for file in self.files)}; dev.json is the part val.",
                "Nouns are those that two or three of the three annotators chose.",
                *(f"{name}.json is not there: its part is not either." for name in PARTS if name not in found),
            ),
            published={"train": 75_702, "val": 25_200, "test": 25_200},
            images=path / "images_512" if (path / "images_512").is_dir() else None,
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the files."""
        for picture, _ in self._records():
            yield picture

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield what is done in each picture, then the things that have a box, each once."""
        for picture, record in self._records():
            if not isinstance(picture, Picture):
                continue  # told with the pictures
            try:
                yield from self._situation(picture, record)
            except MalformedError as error:
                yield Rejected(picture.source, "malformed record", str(error))

    def _records(self) -> Iterator[tuple[Picture | Rejected, Any]]:
        for name, records in self._data.items():
            for file, record in records.items():
                source = f"{name}.json#{file}"
                try:
                    yield _picture(file, PARTS[name], record, source), record
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error)), record

    def _situation(self, picture: Picture, record: Any) -> Iterator[Label | Rejected]:
        """Yield the facts of one picture, whose sources are the picture, picture/role, and picture/bb/role."""
        image, source, verb = picture.image_id, picture.source, field(record, "verb", str)
        if verb not in self._verbs:
            yield Rejected(source, "orphan id", f"no verb {verb!r} in {_SPACE}")
            return
        boxes, frames = field(record, "bb", dict), field(record, "frames", list)
        if len(frames) != ANNOTATORS or not all(isinstance(frame, dict) for frame in frames):
            raise MalformedError(f"'frames' is not what {ANNOTATORS} annotators chose")
        order = self._order(verb)
        for role in sorted({*boxes, *(key for frame in frames for key in frame)} - set(order)):
            yield Rejected(f"{source}/{role}", "malformed record", f"{role!r} is no role of '{verb}'")
        things: dict[str, tuple[str, Box | None]] = {}
        for role in order:
            thing = self._thing(role, boxes, frames, f"{source}/{role}")
            if isinstance(thing, Rejected):
                yield thing
            elif thing is not None:
                things[role] = thing
        subject = AGENT if AGENT in order else next((role for role in order if role != PLACE), None)
        others = {role: thing for role, thing in things.items() if role not in (subject, PLACE)}
        if subject is None or subject not in things:
            named = f"the role {subject} of '{verb}' has no noun" if subject else f"'{verb}' has no role but the place"
            for where in (source, *(f"{source}/{role}" for role in others)):
                yield Rejected(where, "empty text", f"{named}, so that nobody does it")
        else:
            doer, box = things[subject]
            yield Label(image, (doer, verb, None), source, box)
            for role, (noun, other) in others.items():
                yield Label(image, (doer, verb, noun), f"{source}/{role}", box, other)
        seen: set[tuple[str, Box]] = set()
        for role, (noun, box) in things.items():
            if box is not None and (noun, box) not in seen:  # two roles may be one thing
                seen.add((noun, box))
                yield Label(image, (noun, None, None), f"{source}/bb/{role}", box)

    def _order(self, verb: str) -> list[str]:
        order = field(self._verbs[verb], "order", list)
        if not order or not all(isinstance(role, str) for role in order):
            raise MalformedError(f"the order of '{verb}' in {_SPACE} is not a list of roles")
        return order

    def _thing(self, role: str, boxes: Any, frames: list[Any], where: str) -> tuple[str, Box | None] | Rejected | None:
        """Return a role's noun and box; None where it is agreed that there is none."""
        try:
            chosen = [field(frame, role, str) for frame in frames]
            noun, votes = Counter(chosen).most_common(1)[0]
            if votes < 2:
                return Rejected(where, "empty text", f"the annotators do not agree: {', '.join(map(repr, chosen))}")
            if not noun:
                return None
            if noun not in self._nouns:
                return Rejected(where, "orphan id", f"no noun {noun!r} in {_SPACE}")
            glosses = field(self._nouns[noun], "gloss", list)
            if not glosses or not isinstance(glosses[0], str):
                raise MalformedError(f"the gloss of {noun!r} in {_SPACE} is not a list of words")
            box = four_numbers(field(boxes, role, list), role)
        except MalformedError as error:
            return Rejected(where, "malformed record", str(error))
        return glosses[0], None if box == (-1, -1, -1, -1) else box


def _file(path: Path, name: str) -> Path:
    beside = path / "SWiG_jsons" / name
    return beside if beside.exists() and not (path / name).exists() else path / name


def _picture(file: str, part: str, record: Any, source: str) -> Picture:
    stem = PurePosixPath(file).stem
    if not stem:
        raise MalformedError(f"{file!r} is no file's name")
    size = (field(record, "width", int), field(record, "height", int))
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise MalformedError("'width' and 'height' are not those of a picture")
    return Picture(stem, file, part, source, size, origin=f"imsitu:{stem}")


prepare = source_command(SwigReader, "SWiG: train.json, dev.json and test.json with imsitu_space.json, situations.")

if __name__ == "__main__":
    run_alone(prepare)
