"""PSG, panoptic scene graphs of COCO pictures (Yang et al., ECCV 2022): one JSON file with relations and objects.

Boxes are [x1, y1, x2, y2], 0-based and half-open, as here. A relation is [subject, object, predicate]: two places in
the picture's annotations, then one in predicate_classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, entry, field, four_numbers, load
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError
from mas_triplets.facts import is_unicode

CLASSES = {"thing_classes": 80, "stuff_classes": 53, "predicate_classes": 56}
SUFFIXES = ("-merged", "-other", "-stuff")
LARGEST_SIDE = (1 << 31) - 1
_WHAT = "PSG's annotations, {data, thing_classes, stuff_classes, predicate_classes, test_image_ids}"


class PsgReader:
    """Reads psg.json, or psg_train_val.json, which the authors gave out for their challenge.

    Args:
        path: the file, or the folder that holds it under one of these names.

    Raises:
        UserError: the file is absent or is not PSG's.
    """

    def __init__(self, path: Path) -> None:
        names = [path / name for name in ("psg_train_val.json", "psg.json")] if path.is_dir() else [path]
        self._file = names[-1] if names[-1].exists() or not names[0].exists() else names[0]
        self.files = [self._file]
        whole = load(self._file, dict, _WHAT)
        try:
            self._data = field(whole, "data", list)
            classes = {key: _names(whole, key) for key in CLASSES}
            test = field(whole, "test_image_ids", list)
            if not all(isinstance(image_id, str | int) for image_id in test):
                raise MalformedError("'test_image_ids' is not a list of names")
        except MalformedError as error:
            raise UserError(f"{self._file}: {error}; it should be {_WHAT}") from None
        self._test = {str(image_id) for image_id in test}
        self._objects = [_plain(name) for name in classes["thing_classes"] + classes["stuff_classes"]]
        self._predicates = classes["predicate_classes"]
        self.about = About(
            licence="annotations: MIT; pictures: COCO's, from Flickr, their owners'",
            citation="Yang, Ang, Guo, Zhou, Zhang, Liu: Panoptic Scene Graph Generation. ECCV 2022",
            notes=tuple(self._notes(classes)),
            published={"test": 2186},
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the file: those of test_image_ids are the test part, all others train."""
        for picture, _ in self._records():
            yield picture

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield each picture's objects, then its relations; what `pictures` rejected is passed over."""
        for picture, record in self._records():
            if isinstance(picture, Picture):
                yield from self._labels(picture, record)

    def _records(self) -> Iterator[tuple[Picture | Rejected, Any]]:
        seen: dict[str, str] = {}
        for place, record in enumerate(self._data):
            source = f"{self._file.name}#{place}"
            try:
                picture = self._picture(record, source)
            except MalformedError as error:
                yield Rejected(source, "malformed record", str(error)), record
                continue
            first = seen.setdefault(picture.image_id, source)
            if first != source:  # its labels may be for another file
                yield Rejected(source, "duplicate", f"image_id {picture.image_id} is there already ({first})"), record
            else:
                yield picture, record

    def _picture(self, record: Any, source: str) -> Picture:
        image_id = str(field(record, "image_id", (str, int))).strip()
        file = field(record, "file_name", str)
        size = (field(record, "width", int), field(record, "height", int))
        if not (image_id and file.strip() and is_unicode(image_id + file)):
            raise MalformedError("'image_id' or 'file_name' is empty or not valid Unicode text")
        if not all(0 < side <= LARGEST_SIDE for side in size):
            raise MalformedError("'width' and 'height' are not those of a picture")
        part = "test" if image_id in self._test else "train"
        coco_id = PurePosixPath(file).stem.lstrip("0")  # train2017/000000000009.jpg: image_id may be another number
        return Picture(image_id, file, part, source, size, origin=f"coco:{coco_id}")

    def _labels(self, picture: Picture, record: Any) -> Iterator[Label | Rejected]:
        lists: dict[str, list[Any]] = {}
        for key in ("annotations", "relations"):
            try:
                lists[key] = field(record, key, list)
            except MalformedError as error:
                yield Rejected(f"{picture.source}/{key}", "malformed record", str(error))
        things: list[tuple[str, Box] | None] = []
        for place, annotation in enumerate(lists.get("annotations", [])):
            where = f"{picture.source}/annotations/{place}"
            things.append(None)
            try:
                name, box = self._thing(annotation)
            except MalformedError as error:
                yield Rejected(where, "malformed record", str(error))
            except IndexError as error:
                yield Rejected(where, "index out of range", str(error))
            else:
                things[-1] = (name, box)
                yield Label(picture.image_id, (name, None, None), where, box)
        for place, relation in enumerate(lists.get("relations", [])):
            yield self._relation(picture, relation, things, f"{picture.source}/relations/{place}")

    def _thing(self, annotation: Any) -> tuple[str, Box]:
        name = entry(self._objects, field(annotation, "category_id", int), "category_id")
        if annotation.get("bbox_mode", 0) != 0:
            raise MalformedError("'bbox_mode' is not 0, x1 y1 x2 y2")
        return name, four_numbers(field(annotation, "bbox", list))

    def _relation(
        self, picture: Picture, relation: Any, things: list[tuple[str, Box] | None], where: str
    ) -> Label | Rejected:
        if not isinstance(relation, list) or len(relation) != 3 or not all(type(place) is int for place in relation):
            return Rejected(where, "malformed record", "a relation is not [subject, object, predicate]")
        try:
            predicate = entry(self._predicates, relation[2], "predicate")
        except IndexError as error:
            return Rejected(where, "index out of range", str(error))
        ends: list[tuple[str, Box]] = []
        for place, role in zip(relation, ("subject", "object"), strict=False):
            if not 0 <= place < len(things):
                return Rejected(where, "index out of range", f"{role} {place} is none of the {len(things)} annotations")
            thing = things[place]
            if thing is None:
                return Rejected(where, "orphan id", f"{role} {place} is an annotation that was rejected")
            ends.append(thing)
        (subject, subject_box), (other, other_box) = ends
        return Label(picture.image_id, (subject, predicate, other), where, subject_box, other_box)

    def _notes(self, classes: dict[str, list[str]]) -> Iterator[str]:
        yield f"PSG, prepared from {self._file.name}; class names without their endings {', '.join(SUFFIXES)}."
        for key, wanted in CLASSES.items():
            if len(classes[key]) != wanted:
                yield f"{key} has {len(classes[key])} names, where the authors published {wanted}."


def _names(whole: dict[str, Any], key: str) -> list[str]:
    found = field(whole, key, list)
    if not found or not all(isinstance(name, str) and name.strip() for name in found):
        raise MalformedError(f"'{key}' is not a list of names")
    return found


def _plain(name: str) -> str:
    """Return a class name of COCO's panoptic part as a word: "floor-other-merged" is "floor"."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix) or name
    return name


prepare = source_command(PsgReader, "PSG: psg.json (or psg_train_val.json), panoptic scene graphs of COCO pictures.")

if __name__ == "__main__":
    run_alone(prepare)
