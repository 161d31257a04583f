"""V-COCO as its authors give it: a list of actions, with the people who do them and the things they do them with.

An action with one more role than the person gives <person, action, thing>; one without (stand, walk, run, smile), and
one whose thing is not marked, gives <person, action>. Actions with both an object and an instrument (hit, eat, cut)
give "hit" for the object and "hit with" for the instrument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.coco_instances import Instances, box_of, read_instances
from data_prep.json_files import MalformedError, field, load
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.errors import UserError

Files = dict[str, tuple[str, Path]]
"""Part -> the authors' name of what the file holds (train, val, trainval, test), and the file."""
_PUBLISHED = {"train": 2533, "val": 2867, "trainval": 5400, "test": 4946}
ACTIONS = 26  # each lists all people
_BOTH_ROLES = ("hit", "eat", "cut")


def about_vcoco(form: str, files: Files) -> About:
    """Return what is known of V-COCO in one of its forms."""
    missing = [part for part in ("train", "test") if part not in files]
    return About(
        licence="annotations: MIT; pictures: Flickr, their owners'",
        citation="Gupta, Malik: Visual Semantic Role Labeling. arXiv:1505.04474, 2015",
        notes=(
            f"V-COCO, {form}, from {', '.join(file.name for _, file in files.values())}.",
            *(f"There is no file of the part {part}." for part in missing),
        ),
        published={part: _PUBLISHED[name] for part, (name, _) in files.items()},
    )


def predicate(action: str, role: str) -> str:
    """Return the words of an action and the role of its thing."""
    return f"{action} with" if role == "instr" and action in _BOTH_ROLES else action


class OriginalReader:
    """Reads vcoco_{train,val,test}.json; boxes and names come from COCO's instances of 2014 under the same folder.

    Raises:
        UserError: there are no instances.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._parts = {part: file for part, (_, file) in files.items()}
        merged = sorted(path.rglob("instances_vcoco_all_2014.json"))
        official = sorted([*path.rglob("instances_train2014.json"), *path.rglob("instances_val2014.json")])
        self._instance_files = merged[:1] or official
        if not self._instance_files:
            raise UserError(
                f"{path} lacks COCO's instances, where V-COCO has its boxes from: put instances_train2014.json and "
                "instances_val2014.json (or instances_vcoco_all_2014.json) into it"
            )
        self.files = [*self._parts.values(), *self._instance_files]
        self.about = replace(about_vcoco("original form", files), passes=ACTIONS)

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
