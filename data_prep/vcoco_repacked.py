"""V-COCO re-packed by others, with boxes: pairs in columns (fredzzhang/vcoco), and lists in the form of HOI-A (QPIC).

Boxes are x1, y1, x2, y2 in both, 0-based and half-open: x2 is COCO's x + width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.coco_categories import COCO_CATEGORIES
from data_prep.hoi_lists import ListedPicture, listed_pairs, listed_pictures
from data_prep.json_files import MalformedError, entry, field, four_numbers, load
from data_prep.records import Label, Picture, Rejected
from data_prep.vcoco_original import Files, about_vcoco, predicate
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

_VERB_NAMES = (
    "hold obj, stand, sit instr, ride instr, walk, look obj, hit instr, hit obj, eat obj, eat instr, jump instr, "
    "lay instr, talk_on_phone instr, carry obj, throw obj, catch obj, cut instr, cut obj, run, work_on_computer instr, "
    "ski instr, surf instr, skateboard instr, smile, drink instr, kick obj, point instr, read obj, snowboard instr"
)
_VERBS = dict(enumerate(_VERB_NAMES.split(", ")))
"""The verbs of the lists by number: V-COCO's actions in the order of its files, once for each role of a thing."""


class PairsReader:
    """Reads {annotations, classes, objects, images}: boxes_h, boxes_o, actions, objects of each picture.

    Its first version has no list `objects`: its numbers are COCO's.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._parts = {part: file for part, (_, file) in files.items()}
        self.files = list(self._parts.values())
        self.about = about_vcoco("pairs re-packed", files)

    @cached_property
    def _read(self) -> dict[str, dict[str, Any]]:
        read = {part: load(file, dict, "V-COCO's pairs") for part, file in self._parts.items()}
        for part, content in read.items():
            for key in ("annotations", "classes", "objects"):
                if not isinstance(content.get(key), list) and (key != "objects" or key in content):
                    raise UserError(f"{self._parts[part]} has no list '{key}': it should be V-COCO's pairs")
            for key in ("classes", "objects"):
                if not all(isinstance(name, str) for name in content.get(key, [])):
                    raise UserError(f"{self._parts[part]}: '{key}' is not a list of names")
        return read

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the picture of every annotation."""
        for part, content in self._read.items():
            for place, annotation in enumerate(content["annotations"]):
                source = f"{self._parts[part].name}#{place}"
                try:
                    yield _picture(field(annotation, "file_name", str), part, source)
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error))

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield <person, action, thing> for each pair, and each person and thing once."""
        for part, content in self._read.items():
            things = dict(enumerate(content["objects"])) if "objects" in content else COCO_CATEGORIES
            for place, annotation in enumerate(content["annotations"]):
                source = f"{self._parts[part].name}#{place}"
                try:
                    name = PurePosixPath(field(annotation, "file_name", str)).stem
                    keys = ("boxes_h", "boxes_o", "actions", "objects")
                    columns = [field(annotation, key, list) for key in keys]
                    if len({len(column) for column in columns}) > 1:
                        raise MalformedError(f"{', '.join(keys)} differ in length")
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error))
                    continue
                seen: set[tuple[str, Box]] = set()
                for pair, values in enumerate(zip(*columns, strict=True)):
                    label = _pair(name, f"{source}/{pair}", values, content["classes"], things)
                    yield label
                    if isinstance(label, Label):
                        yield from _once(label, seen)


class ListReader:
    """Reads [{file_name, annotations, hoi_annotation}, ...] with the verbs numbered as in V-COCO's own files.

    Raises:
        UserError: verbs that have no thing have one, so they are numbered in another order, as in PPDM's lists.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._parts = {part: file for part, (_, file) in files.items()}
        self.files = list(self._parts.values())
        self.about = about_vcoco("list of pictures", files)

    @cached_property
    def _read(self) -> dict[str, list[ListedPicture | Rejected]]:
        read = {}
        for part, file in self._parts.items():
            read[part] = [*listed_pictures(load(file, list, "V-COCO's list of pictures"), f"{file.name}#")]
            _check_order(read[part], file)
        return read

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of both lists."""
        for part, pictures in self._read.items():
            for picture in pictures:
                yield picture if isinstance(picture, Rejected) else _picture(picture.file, part, picture.source)

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield what each person does, and the people and things that do or are used, each of them once."""
        for pictures in self._read.values():
            for picture in pictures:
                if isinstance(picture, ListedPicture):  # the others were told with the pictures
                    yield from _listed_labels(picture)


def _listed_labels(picture: ListedPicture) -> Iterator[Label | Rejected]:
    name, seen = PurePosixPath(picture.file).stem, set[tuple[str, Box]]()
    pairs = [*listed_pairs(picture, _VERBS)]
    whole = [pair for pair in pairs if not isinstance(pair, Rejected)]
    told = {(pair.person, pair.verb.partition(" ")[0]) for pair in whole if pair.thing}
    for pair in pairs:
        if isinstance(pair, Rejected):
            yield pair
            continue
        action, _, role = pair.verb.partition(" ")
        thing, thing_box = pair.thing or (None, None)
        if thing is None and (pair.person, action) in told:
            continue  # what is hit, eaten or cut is marked, what with is not, or the other way round
        told.add((pair.person, action))
        try:
            box = four_numbers(pair.person_box)
            other = None if thing_box is None else four_numbers(thing_box)
        except MalformedError as error:
            yield Rejected(pair.source, "malformed record", str(error))
            continue
        words = ("person", action if thing is None else predicate(action, role), thing)
        label = Label(name, words, pair.source, box, other)
        yield label
        yield from _once(label, seen)


def _once(label: Label, seen: set[tuple[str, Box]]) -> Iterator[Label]:
    """Yield the person and the thing of a label, as far as they are not in `seen` yet."""
    for word, box, what in ((label.words[0], label.subject_box, "person"), (label.words[2], label.object_box, "thing")):
        if word is not None and box is not None and (word, box) not in seen:
            seen.add((word, box))
            yield Label(label.image_id, (word, None, None), f"{label.source}/{what}", box)


def _check_order(pictures: list[ListedPicture | Rejected], file: Path) -> None:
    """See whether the verbs that have no role but the person's (stand, walk, run, smile) have no thing in the list."""
    alone = [
        pair.thing is None
        for picture in pictures
        if isinstance(picture, ListedPicture)
        for pair in listed_pairs(picture, _VERBS)
        if not isinstance(pair, Rejected) and " " not in pair.verb
    ]
    if sum(alone) < len(alone) / 2:
        raise UserError(
            f"{file}: most of those who stand, walk, run or smile do it with a thing, so its verbs are numbered in "
            "another order than V-COCO's: give a list that convert_vcoco_annotations.py of QPIC has made"
        )


def _picture(file: str, part: str, source: str) -> Picture:
    name = PurePosixPath(file).stem
    return Picture(name, file, part, source, origin=f"coco:{name.rpartition('_')[2].lstrip('0')}")


def _pair(
    name: str, source: str, values: tuple[Any, ...], actions: list[str], things: Mapping[int, str]
) -> Label | Rejected:
    person, thing, action, category = values
    try:
        if type(action) is not int or category != int(category):
            raise MalformedError("the action or the object is not a whole number")
        done, _, role = entry(actions, action, "action").partition(" ")
        if int(category) not in things:
            raise IndexError(f"object {category} is not one of {min(things, default=0)} to {max(things, default=0)}")
        boxes = four_numbers(person, "boxes_h"), four_numbers(thing, "boxes_o")
    except IndexError as error:
        return Rejected(source, "index out of range", str(error))
    except (MalformedError, TypeError, ValueError, OverflowError) as error:
        return Rejected(source, "malformed record", str(error))
    return Label(name, ("person", predicate(done, role), things[int(category)]), source, *boxes)
