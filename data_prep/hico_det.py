"""HICO-DET (Chao et al., WACV 2018): people and things, in the original .mat files and in the two re-packed JSON forms.

Boxes are x1, y1, x2, y2, 1-based and inclusive in all three. `no_interaction` says that nothing is done with the thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.hico_mat import MatFiles
from data_prep.json_files import MalformedError, entry, field, four_numbers, load
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

_NOTHING_DONE = "no_interaction"


_FORMS = {
    "mat": {"train": "anno_bbox.mat", "test": "anno_bbox.mat"},
    "columns": {"train": "instances_train2015.json", "test": "instances_test2015.json"},
    "list": {"train": "trainval_hico.json", "test": "test_hico.json"},
}
"""The forms in which HICO-DET is found, and the file of each part; the first that is there is taken."""


@dataclass(frozen=True)
class Scene:
    """One picture's record: file, size if told, and pairs as (source, verb, thing, person's box, thing's box)."""

    file: str
    size: tuple[int, int] | None
    pairs: Iterator[tuple[str, str, str, Any, Any] | Rejected]


class HicoReader:
    """Reads what is in the folder: anno_bbox.mat with anno.mat, else instances_train2015.json, else trainval_hico.json.

    Args:
        path: the folder. trainval_hico.json and test_hico.json need hico_list_hoi.txt beside them, for the words.

    Raises:
        UserError: none of them is there, or one is not HICO-DET's.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: give the one that holds anno_bbox.mat of HICO-DET")
        kind, self._given = _found(path)
        self._folder, self._is_list = path, kind == "list"
        self._form = {"mat": self._mat, "columns": self._columns, "list": self._list}[kind]
        self.files = sorted({*self._given.values()})
        self.files += {"mat": [path / "anno.mat"], "columns": [], "list": [path / "hico_list_hoi.txt"]}[kind]
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
                        person_box, thing_box = (_box(value) for value in given)
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

    @cached_property
    def _interactions(self) -> dict[int, tuple[str, str]]:
        """Number of an interaction -> thing and verb, from hico_list_hoi.txt: lines of id, object, verb."""
        path = self._folder / "hico_list_hoi.txt"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            raise UserError(
                f"{path} does not exist: the JSON files name no verb, put HICO's list beside them"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        words = [line.split() for line in lines]
        return {
            int(row[0]): (row[1], row[2]) for row in words if len(row) == 3 and row[0].isascii() and row[0].isdigit()
        }

    def _list(self, file: Path, part: str) -> Iterator[Scene | Rejected]:
        """Read [{file_name, annotations: [{bbox}], hoi_annotation: [{subject_id, object_id, hoi_category_id}]}]."""
        for place, record in enumerate(self._loaded[file]):
            source = f"{file.name}#{part}/{place}"
            try:
                name = field(record, "file_name", str)
                things, pairs = field(record, "annotations", list), field(record, "hoi_annotation", list)
            except MalformedError as error:
                yield Rejected(source, "malformed record", str(error))
                continue
            yield Scene(name, None, self._pairs(things, pairs, source))

    def _pairs(
        self, things: list[Any], pairs: list[Any], source: str
    ) -> Iterator[tuple[str, str, str, Any, Any] | Rejected]:
        for place, pair in enumerate(pairs):
            where = f"{source}/{place}"
            try:
                number = field(pair, "hoi_category_id", int)
                ends = [field(pair, key, int) for key in ("subject_id", "object_id")]
                beside = [end for end in ends if not 0 <= end < len(things)]
                if beside or number not in self._interactions:
                    yield Rejected(where, "index out of range", f"annotation {beside} or interaction {number}")
                    continue
                boxes = [field(things[end], "bbox", list) for end in ends]
            except MalformedError as error:
                yield Rejected(where, "malformed record", str(error))
                continue
            thing, verb = self._interactions[number]
            yield (where, verb, thing, boxes[0], boxes[1])


def _found(path: Path) -> tuple[str, dict[str, Path]]:
    for kind, names in _FORMS.items():
        given = {part: path / name for part, name in names.items() if (path / name).exists()}
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


def _box(given: Any) -> Box:
    x1, y1, x2, y2 = four_numbers(given)
    return (x1 - 1, y1 - 1, x2, y2)


def _size(given: Any) -> tuple[int, int] | None:
    whole = isinstance(given, list) and len(given) == 2 and all(type(side) is int and side > 0 for side in given)
    return (given[0], given[1]) if whole else None


prepare = source_command(
    HicoReader, "HICO-DET: anno_bbox.mat with anno.mat, instances_*2015.json, or trainval_hico.json with its list."
)

if __name__ == "__main__":
    run_alone(prepare)
