"""V-COCO (Gupta and Malik, 2015): what people do in COCO's pictures, in its own form and as re-packed pairs.

An action with one more role than the person gives <person, action, thing>; one without (stand, walk, run, smile), and
one whose thing is not marked, gives <person, action>. Actions with both an object and an instrument (hit, eat, cut)
give "hit" for the object and "hit with" for the instrument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.coco_instances import Instances, box_of, read_instances
from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, entry, field, four_numbers, load
from data_prep.records import About, Label, Picture, Reader, Rejected
from mas_triplets.errors import UserError

_PUBLISHED = {"train": 2533, "val": 2867, "test": 4946}
_LICENCE = "annotations: MIT; pictures: Flickr, their owners'"
_CITATION = "Gupta, Malik: Visual Semantic Role Labeling. arXiv:1505.04474, 2015"
_PARTS = {"train": "train", "val": "val", "trainval": "train", "test": "test"}
_BOTH_ROLES = ("hit", "eat", "cut")


def vcoco_reader(path: Path) -> Reader:
    """Return the reader for what is in the folder: re-packed pairs (instances_vcoco_*.json) or the original files.

    Raises:
        UserError: neither is there.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder: give the one that holds vcoco_train.json of V-COCO")
    for pattern, make in ((r"instances_vcoco_(\w+)\.json", RepackedReader), (r"vcoco_(\w+)\.json", OriginalReader)):
        found = {}
        for file in sorted(path.rglob("*.json")):
            match = re.fullmatch(pattern, file.name)
            if match and match[1] in _PARTS:
                found[match[1]] = file
        if "train" in found or "val" in found:
            found.pop("trainval", None)  # the same pictures once more
        if found:
            return make(path, {_PARTS[name]: file for name, file in found.items()})
    raise UserError(f"{path} holds neither vcoco_train.json nor instances_vcoco_train.json of V-COCO")


def predicate(action: str, role: str) -> str:
    """Return the words of an action and the role of its thing."""
    return f"{action} with" if role == "instr" and action in _BOTH_ROLES else action


class RepackedReader:
    """Reads the pairs {annotations, classes, objects, images}: boxes_h, boxes_o, actions, objects of each picture."""

    def __init__(self, path: Path, parts: dict[str, Path]) -> None:
        self._parts = parts
        self.files = list(parts.values())
        self.about = About(_LICENCE, _CITATION, (f"V-COCO, pairs re-packed, from {path.name}.",), _PUBLISHED)

    @cached_property
    def _read(self) -> dict[str, dict[str, Any]]:
        read = {part: load(file, dict, "V-COCO's pairs") for part, file in self._parts.items()}
        for part, content in read.items():
            for key in ("annotations", "classes", "objects"):
                if not isinstance(content.get(key), list):
                    raise UserError(f"{self._parts[part]} has no list '{key}': it should be V-COCO's pairs")
            for key in ("classes", "objects"):
                if not all(isinstance(name, str) for name in content[key]):
                    raise UserError(f"{self._parts[part]}: '{key}' is not a list of names")
        return read

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the picture of every annotation."""
        for part, content in self._read.items():
            for place, annotation in enumerate(content["annotations"]):
                source = f"{self._parts[part].name}#{place}"
                try:
                    file = field(annotation, "file_name", str)
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error))
                    continue
                name = PurePosixPath(file).stem
                yield Picture(name, file, part, source, origin=f"coco:{name.rpartition('_')[2].lstrip('0')}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield <person, action, thing> for each pair."""
        for part, content in self._read.items():
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
                for pair, values in enumerate(zip(*columns, strict=True)):
                    yield _pair(name, f"{source}/{pair}", values, content)


def _pair(name: str, source: str, values: tuple[Any, ...], content: dict[str, Any]) -> Label | Rejected:
    person, thing, action, category = values
    try:
        if type(action) is not int or category != int(category):
            raise MalformedError("the action or the object is not a whole number")
        done, _, role = entry(content["classes"], action, "action").partition(" ")
        called = entry(content["objects"], int(category), "object")
        boxes = four_numbers(person, "boxes_h"), four_numbers(thing, "boxes_o")
    except IndexError as error:
        return Rejected(source, "index out of range", str(error))
    except (MalformedError, TypeError, ValueError, OverflowError) as error:
        return Rejected(source, "malformed record", str(error))
    return Label(name, ("person", predicate(done, role), called), source, *boxes)


class OriginalReader:
    """Reads vcoco_{train,val,test}.json; boxes and names come from COCO's instances of 2014 under the same folder.

    Raises:
        UserError: there are no instances.
    """

    def __init__(self, path: Path, parts: dict[str, Path]) -> None:
        self._parts = parts
        merged = sorted(path.rglob("instances_vcoco_all_2014.json"))
        official = sorted([*path.rglob("instances_train2014.json"), *path.rglob("instances_val2014.json")])
        self._instance_files = merged[:1] or official
        if not self._instance_files:
            raise UserError(
                f"{path} lacks COCO's instances, where V-COCO has its boxes from: put instances_train2014.json and "
                "instances_val2014.json (or instances_vcoco_all_2014.json) into it"
            )
        self.files = [*parts.values(), *self._instance_files]
        self.about = About(_LICENCE, _CITATION, (f"V-COCO, original form, from {path.name}.",), _PUBLISHED)

    @cached_property
    def _instances(self) -> list[Instances]:
        return [read_instances(file) for file in self._instance_files]

    @cached_property
    def _read(self) -> dict[str, list[Any]]:
        return {part: load(file, list, "V-COCO's list of actions") for part, file in self._parts.items()}

    def _annotation(self, number: Any) -> tuple[dict[str, Any], Instances] | None:
        for instances in self._instances:
            found = instances.index.anns.get(number) if type(number) is int else None
            if found is not None:
                return found, instances
        return None

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of each part, as the people in it name them."""
        for part, actions in self._read.items():
            numbers: set[int] = set()
            for action in actions:
                found = action.get("image_id") if isinstance(action, dict) else None
                for item in found if isinstance(found, list) else []:
                    number = item[0] if isinstance(item, list) and len(item) == 1 else item
                    if type(number) is int:
                        numbers.add(number)
            for number in sorted(numbers):
                source = f"{self._parts[part].name}#image {number}"
                image = next((i.index.imgs[number] for i in self._instances if number in i.index.imgs), None)
                if image is None:
                    yield Rejected(source, "orphan id", f"no picture {number} in COCO's instances")
                    continue
                whole = all(type(image.get(side)) is int and image[side] > 0 for side in ("width", "height"))
                size = (image["width"], image["height"]) if whole else None
                yield Picture(str(number), image["file_name"], part, source, size, f"coco:{number}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield what each person does, and the people and things themselves."""
        told: set[int] = set()
        for instances in self._instances:
            yield from instances.rejected
        for part, actions in self._read.items():
            for place, action in enumerate(actions):
                source = f"{self._parts[part].name}#{place}"
                try:
                    yield from self._of_action(action, source, told)
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error))

    def _of_action(self, action: Any, source: str, told: set[int]) -> Iterator[Label | Rejected]:
        name = field(action, "action_name", str)
        roles = field(action, "role_name", list)
        people, labels, flat = (_flat(action, key) for key in ("ann_id", "label", "role_object_id"))
        if not roles or not all(isinstance(role, str) for role in roles):
            raise MalformedError("'role_name' is not a list of names")
        count = len(people)
        if len(labels) != count or len(flat) != count * len(roles):
            raise MalformedError("ann_id, label and role_object_id differ in length")
        for person in range(count):
            where = f"{source}/{person}"
            if labels[person] == 0:
                continue  # every action lists every person, with a 0 for those who do not do it
            if labels[person] != 1:
                yield Rejected(where, "malformed record", f"the label is {labels[person]!r}, not 0 or 1")
                continue
            found = self._annotation(people[person])
            if found is None:
                yield Rejected(where, "orphan id", f"no annotation {people[person]} in COCO's instances")
                continue
            annotation, _ = found
            image, box = str(annotation["image_id"]), box_of(annotation)
            things = [(role, flat[k * count + person]) for k, role in enumerate(roles) if k]  # row-major by role
            marked = [(role, number) for role, number in things if number != 0]
            yield from self._once(people[person], where, told)
            if not marked:
                yield Label(image, ("person", name, None), where, box)
            for role, number in marked:
                thing = self._annotation(number)
                if thing is None:
                    yield Rejected(f"{where}/{role}", "orphan id", f"no annotation {number} in COCO's instances")
                    continue
                words = ("person", predicate(name, role), thing[1].name_of(thing[0]))
                yield Label(image, words, f"{where}/{role}", box, box_of(thing[0]))
                yield from self._once(number, f"{where}/{role}", told)

    def _once(self, number: int, source: str, told: set[int]) -> Iterator[Label]:
        found = self._annotation(number)
        if found is not None and number not in told:
            told.add(number)
            annotation, instances = found
            yield Label(
                str(annotation["image_id"]), (instances.name_of(annotation), None, None), source, box_of(annotation)
            )


def _flat(action: Any, key: str) -> list[Any]:
    """Return a column of numbers; some files wrap each in a list of its own."""
    return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in field(action, key, list)]


prepare = source_command(vcoco_reader, "V-COCO: vcoco_*.json with COCO's instances of 2014, or instances_vcoco_*.json.")

if __name__ == "__main__":
    run_alone(prepare)
