"""HICO-DET (Chao et al., WACV 2018): people and things, in the original .mat files and in the two re-packed JSON forms.

Boxes are x1, y1, x2, y2, 1-based and inclusive, but for lists with boxes that begin at 0, which are 0-based and
inclusive. `no_interaction` says that nothing is done with the thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.hico_mat import MatFiles
from data_prep.hoi_lists import ListedPicture, listed_pairs, listed_pictures
from data_prep.json_files import MalformedError, entry, field, four_numbers, load
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

_NOTHING_DONE = "no_interaction"
_VERB_NAMES = (
    "adjust assemble block blow board break brush_with buy carry catch chase check clean control cook cut cut_with "
    "direct drag dribble drink_with drive dry eat eat_at exit feed fill flip flush fly greet grind groom herd hit hold "
    "hop_on hose hug hunt inspect install jump kick kiss lasso launch lick lie_on lift light load lose make milk move "
    "no_interaction open operate pack paint park pay peel pet pick pick_up point pour pull push race read release "
    "repair ride row run sail scratch serve set shear sign sip sit_at sit_on slide smell spin squeeze stab stand_on "
    "stand_under stick stir stop_at straddle swing tag talk_on teach text_on throw tie toast train turn type_on walk "
    "wash watch wave wear wield zip"
)
_VERBS = dict(enumerate(_VERB_NAMES.split(), 1))
"""The verbs of the lists by number, which is that of HICO's own list of verbs."""
_FORMS = {
    "mat": {"train": "anno_bbox.mat", "test": "anno_bbox.mat"},
    "columns": {"train": "instances_train2015.json", "test": "instances_test2015.json"},
    "list": {"train": "trainval_hico.json", "test": "test_hico.json"},
}
"""The forms in which HICO-DET is found, and the file of each part; the first that is there is taken."""


@dataclass(frozen=True)
class Scene:
    """One picture's record.

    Attributes:
        file: its name.
        size: (width, height), if told.
        pairs: (source, verb, thing, person's box, thing's box).
        first: number of the first pixel in the boxes.
    """

    file: str
    size: tuple[int, int] | None
    pairs: Iterator[tuple[str, str, str, Any, Any] | Rejected]
    first: int = 1


class HicoReader:
    """Reads what is in the folder: anno_bbox.mat with anno.mat, else instances_train2015.json, else trainval_hico.json.

    Args:
        path: the folder, or one of the files.

    Raises:
        UserError: none of them is there, or one is not HICO-DET's.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "anno_bbox.mat of HICO-DET")
        kind, self._given = _found(path, only)
        self._folder, self._is_list = path, kind == "list"
        self._form = {"mat": self._mat, "columns": self._columns, "list": self._list}[kind]
        self.files = sorted({*self._given.values()})
        self.files += [path / "anno.mat"] if kind == "mat" and (path / "anno.mat").exists() else []
        missing = [name for part, name in _FORMS[kind].items() if part not in self._given]
        self.about = About(
            licence="none stated; research use",
            citation="Chao, Liu, Liu, Zeng, Deng: Learning to Detect Human-Object Interactions. WACV 2018",
            notes=(
                f"HICO-DET, from {', '.join(file.name for file in self.files)}.",
                f"Pairs marked {_NOTHING_DONE} are left out.",
                *(f"{name} is not there: its part is not either." for name in missing),
            ),
            published={"train": 38118, "test": 9658},
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of both parts."""
        for part, file in self._given.items():
            for place, scene in enumerate(self._form(file, part)):
                if isinstance(scene, Rejected):
                    yield scene
                else:
                    stem = PurePosixPath(scene.file).stem
                    source = f"{file.name}#{part}/{place}"
                    yield Picture(stem, scene.file, part, source, scene.size, origin=f"hico:{stem}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield <person, verb, thing> for each pair, and each person and thing once."""
        for part, file in self._given.items():
            for scene in self._form(file, part):
                if isinstance(scene, Rejected):
                    continue  # told with the pictures
                image, seen = PurePosixPath(scene.file).stem, set[tuple[str, Box]]()
                for pair in scene.pairs:
                    if isinstance(pair, Rejected):
                        yield pair
                        continue
                    source, verb, thing, *given = pair
                    try:
                        person_box, thing_box = (_box(value, scene.first) for value in given)
                    except MalformedError as error:
                        yield Rejected(source, "malformed record", str(error))
                        continue
                    if verb == _NOTHING_DONE:
                        yield Rejected(source, "negative label", f"nothing is done with the {thing}")
                    else:
                        yield Label(image, ("person", verb, thing), source, person_box, thing_box)
                    for name, box, role in (("person", person_box, "person"), (thing, thing_box, "thing")):
                        if (name, box) not in seen:
                            seen.add((name, box))
                            yield Label(image, (name, None, None), f"{source}/{role}", box)

    @cached_property
    def _matlab(self) -> MatFiles:
        return MatFiles(self._folder)

    def _mat(self, file: Path, part: str) -> Iterator[Scene | Rejected]:
        for place, (name, size, pairs) in enumerate(self._matlab.scenes(part)):
            if name is None:
                yield Rejected(f"{file.name}#{part}/{place}", "malformed record", "no file name")
            else:
                yield Scene(name, size, pairs)

    @cached_property
    def _loaded(self) -> dict[Path, Any]:
        kind = list if self._is_list else dict
        return {file: load(file, kind, "HICO-DET's annotations") for file in self._given.values()}

    def _columns(self, file: Path, part: str) -> Iterator[Scene | Rejected]:
        """Read {annotation, filenames, size, objects, verbs, ...}: columns of boxes_h, boxes_o, object, verb."""
        content = self._loaded[file]
        for key in ("annotation", "filenames", "objects", "verbs"):
            if not isinstance(content.get(key), list):
                raise UserError(f"{file} has no list '{key}': it should be HICO-DET's instances")
        for key in ("filenames", "objects", "verbs"):
            if not all(isinstance(name, str) for name in content[key]):
                raise UserError(f"{file}: '{key}' is not a list of names: it should be HICO-DET's instances")
        sizes = content.get("size") if isinstance(content.get("size"), list) else []
        if len(content["filenames"]) != len(content["annotation"]):
            raise UserError(
                f"{file} has {len(content['filenames'])} filenames for {len(content['annotation'])} pictures"
            )
        for place, (name, columns) in enumerate(zip(content["filenames"], content["annotation"], strict=True)):
            source = f"{file.name}#{part}/{place}"
            try:
                keys = ("boxes_h", "boxes_o", "object", "verb")
                values = [field(columns, key, list) for key in keys]
                if len({len(value) for value in values}) > 1:
                    raise MalformedError(f"{', '.join(keys)} differ in length")
            except MalformedError as error:
                yield Rejected(source, "malformed record", str(error))
                continue
            size = sizes[place] if place < len(sizes) else None
            yield Scene(name, _size(size), _named(zip(*values, strict=True), content, source))

    def _list(self, file: Path, part: str) -> Iterator[Scene | Rejected]:
        """Read a list in the form of HOI-A."""
        first = _first_pixel(self._loaded[file])
        for picture in listed_pictures(self._loaded[file], f"{file.name}#{part}/"):
            yield picture if isinstance(picture, Rejected) else Scene(picture.file, None, _listed(picture), first)


def _first_pixel(records: list[Any]) -> int:
    """Return how a list numbers the first pixel of a side: 0 if any of its boxes begins there, else 1.

    The .mat counts from 1 and has hundreds of boxes that begin there. So does test_hico.json; trainval_hico.json as it
    is handed on has the same boxes less 1 (its first person is 207 32 426 299, in the .mat 208 33 427 300).
    """
    for record in records:
        things = record.get("annotations") if isinstance(record, dict) else None
        for thing in things if isinstance(things, list) else []:
            box = thing.get("bbox") if isinstance(thing, dict) else None
            if isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box):
                x1, y1, x2, y2 = box
                if x1 < x2 and y1 < y2 and min(x1, y1) == 0:
                    return 0
    return 1


def _listed(picture: ListedPicture) -> Iterator[tuple[str, str, str, Any, Any] | Rejected]:
    for pair in listed_pairs(picture, _VERBS):
        if isinstance(pair, Rejected):
            yield pair
        elif pair.thing is None:
            yield Rejected(pair.source, "index out of range", f"no thing is given for {pair.verb}")
        else:
            yield (pair.source, pair.verb, pair.thing[0], pair.person_box, pair.thing[1])


def _found(path: Path, only: str | None) -> tuple[str, dict[str, Path]]:
    for kind, names in _FORMS.items():
        wanted = {part: path / name for part, name in names.items() if only in (None, name)}
        given = {part: file for part, file in wanted.items() if file.exists()}
        if given:
            return kind, given
    raise UserError(f"{path} holds none of anno_bbox.mat, instances_train2015.json, trainval_hico.json of HICO-DET")


def _named(rows: Any, content: dict[str, Any], source: str) -> Iterator[tuple[str, str, str, Any, Any] | Rejected]:
    for place, (person, thing, category, verb) in enumerate(rows):
        where = f"{source}/{place}"
        if type(category) is not int or type(verb) is not int:
            yield Rejected(where, "malformed record", "the object or the verb is not a whole number")
            continue
        try:
            words = entry(content["verbs"], verb, "verb"), entry(content["objects"], category, "object")
        except IndexError as error:
            yield Rejected(where, "index out of range", str(error))
            continue
        yield (where, words[0], words[1], person, thing)


def _box(given: Any, first: int) -> Box:
    x1, y1, x2, y2 = four_numbers(given)
    return (x1 - first, y1 - first, x2 - first + 1, y2 - first + 1)


def _size(given: Any) -> tuple[int, int] | None:
    whole = isinstance(given, list) and len(given) == 2 and all(type(side) is int and side > 0 for side in given)
    return (given[0], given[1]) if whole else None


prepare = source_command(
    HicoReader,
    "HICO-DET: anno_bbox.mat with anno.mat, or instances_*2015.json, or trainval_hico.json and test_hico.json.",
)

if __name__ == "__main__":
    run_alone(prepare)
