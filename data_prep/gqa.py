"""GQA scene graphs (Hudson and Manning, CVPR 2019): those of Visual Genome, cleaned; JSON by picture and object id.

Boxes are x, y, w, h, 0-based. The test part's graphs were never published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, field, load, number
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError
from mas_triplets.facts import is_unicode

PARTS = ("train", "val")
GENERATED = ("to the left of", "to the right of")
"""Relations that were computed from the boxes: nobody saw them in the picture."""
LARGEST_SIDE = (1 << 31) - 1
_WHAT = "GQA's scene graphs, {picture id: {width, height, objects}}"


class GqaReader:
    """Reads train_sceneGraphs.json and val_sceneGraphs.json.

    Args:
        path: their folder, or one of the two.

    Raises:
        UserError: neither file is there, or one is not an object.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "train_sceneGraphs.json")
        given = {part: path / f"{part}_sceneGraphs.json" for part in PARTS}
        found = {part: file for part, file in given.items() if only in (None, file.name) and file.exists()}
        if not found:
            raise UserError(f"{path} holds neither train_sceneGraphs.json nor val_sceneGraphs.json of GQA")
        self.files = list(found.values())
        self._read: dict[str, dict[str, Any]] = {part: load(file, dict, _WHAT) for part, file in found.items()}
        notes = [
            f"GQA, prepared from {', '.join(file.name for file in self.files)}; it has no part test, which the authors "
            "keep to themselves.",
            f'Relations "{GENERATED[0]}" and "{GENERATED[1]}" were computed from boxes and are left out.',
            "The pictures are Visual Genome's: do not test on those of one what was trained on those of the other.",
        ]
        notes += [f"{given[part].name} is not there." for part in PARTS if part not in found]
        self.about = About(
            licence="annotations: CC BY 4.0, as Visual Genome's; pictures: of Flickr, their owners'",
            citation="Hudson, Manning: GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question "
            "Answering. CVPR 2019",
            notes=tuple(notes),
            published={"train": 74_942, "val": 10_696},
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the files."""
        for picture, _ in self._records():
            yield picture

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield each picture's objects with their attributes, then its relations; pass over rejected pictures."""
        for picture, graph in self._records():
            if isinstance(picture, Picture):
                yield from _labels(picture, graph)

    def _records(self) -> Iterator[tuple[Picture | Rejected, Any]]:
        for part, graphs in self._read.items():
            for place, (image_id, graph) in enumerate(graphs.items()):
                source = f"{part}_sceneGraphs.json#{image_id if image_id.isalnum() else place}"
                try:
                    yield _picture(image_id, graph, part, source), graph
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error)), graph


def _picture(image_id: str, graph: Any, part: str, source: str) -> Picture:
    size = (field(graph, "width", int), field(graph, "height", int))
    if not image_id.strip() or not is_unicode(image_id):
        raise MalformedError("its id is empty or not valid Unicode text")
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise MalformedError("'width' and 'height' are not those of a picture")
    return Picture(image_id, f"{image_id}.jpg", part, source, size, origin=f"vg:{image_id}")


def _labels(picture: Picture, graph: Any) -> Iterator[Label | Rejected]:
    try:
        objects = field(graph, "objects", dict)
    except MalformedError as error:
        yield Rejected(f"{picture.source}/objects", "malformed record", str(error))
        return
    things: dict[str, tuple[str, Box]] = {}
    where = {object_id: _place(picture, object_id, place) for place, object_id in enumerate(objects)}
    for object_id, thing in objects.items():
        try:
            name, box = field(thing, "name", str), _box(thing)
        except MalformedError as error:
            yield Rejected(where[object_id], "malformed record", str(error))
            continue
        things[object_id] = (name, box)
        yield Label(picture.image_id, (name, None, None), where[object_id], box)
        attributes = thing.get("attributes") or []
        if not isinstance(attributes, list):
            yield Rejected(f"{where[object_id]}/attributes", "malformed record", "'attributes' is not a list")
            continue
        for place, attribute in enumerate(attributes):
            source = f"{where[object_id]}/attributes/{place}"
            if isinstance(attribute, str):
                yield Label(picture.image_id, (name, attribute, None), source, box)
            else:
                yield Rejected(source, "malformed record", "an attribute is not text")
    for object_id, thing in objects.items():
        if object_id in things:
            yield from _relations(picture, thing, things[object_id], things, f"{where[object_id]}/relations")


def _relations(
    picture: Picture, thing: Any, subject: tuple[str, Box], things: dict[str, tuple[str, Box]], source: str
) -> Iterator[Label | Rejected]:
    """Yield the relations of one object: a list, or, as in the example on the authors' site, an object by id."""
    relations = thing.get("relations") or []
    if not isinstance(relations, list | dict):
        yield Rejected(source, "malformed record", "'relations' is not a list")
        return
    given: Iterable[tuple[int | str, Any]] = enumerate(relations.values() if isinstance(relations, dict) else relations)
    if isinstance(relations, dict) and all(key.isalnum() for key in relations):
        given = relations.items()  # by their own names, so that their order does not matter
    for place, relation in given:
        where = f"{source}/{place}"
        try:
            predicate, other_id = field(relation, "name", str), str(field(relation, "object", (str, int)))
        except MalformedError as error:
            yield Rejected(where, "malformed record", str(error))
            continue
        if predicate in GENERATED:
            yield Rejected(where, "not asked for", f"'{predicate}' was computed from the boxes")
        elif other_id not in things:
            yield Rejected(where, "orphan id", f"there is no object {other_id!r}")
        else:
            other, other_box = things[other_id]
            yield Label(picture.image_id, (subject[0], predicate, other), where, subject[1], other_box)


def _place(picture: Picture, object_id: str, place: int) -> str:
    """Return where an object stands; by its place if its id is damaged."""
    return f"{picture.source}/{object_id if object_id.isalnum() else place}"


def _box(thing: Any) -> Box:
    x, y, w, h = (number(field(thing, key, (int, float)), key) for key in "xywh")
    return (x, y, x + w, y + h)


prepare = source_command(GqaReader, "GQA: train_sceneGraphs.json and val_sceneGraphs.json.")

if __name__ == "__main__":
    run_alone(prepare)
