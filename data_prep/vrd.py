"""Stanford VRD (Lu et al., ECCV 2016): JSON annotations, with the scene graphs of the same pictures if they are there.

Boxes of the JSON annotations are [ymin, ymax, xmin, xmax], 1-based and inclusive; those of the scene graphs x, y, w, h.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, entry, field, four_numbers, load, names, number
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError
from mas_triplets.facts import normalise_text

PARTS = ("train", "test")
OBJECTS = (
    "person, sky, building, truck, bus, table, shirt, chair, car, train, glasses, tree, boat, hat, trees, grass, "
    "pants, road, motorcycle, jacket, monitor, wheel, umbrella, plate, bike, clock, bag, shoe, laptop, desk, cabinet, "
    "counter, bench, shoes, tower, bottle, helmet, stove, lamp, coat, bed, dog, mountain, horse, plane, roof, "
    "skateboard, traffic light, bush, phone, airplane, sofa, cup, sink, shelf, box, van, hand, shorts, post, jeans, "
    "cat, sunglasses, bowl, computer, pillow, pizza, basket, elephant, kite, sand, keyboard, plant, can, vase, "
    "refrigerator, cart, skis, pot, surfboard, paper, mouse, trash can, cone, camera, ball, bear, giraffe, tie, "
    "luggage, faucet, hydrant, snowboard, oven, engine, watch, face, street, ramp, suitcase"
)
PREDICATES = (
    "on, wear, has, next to, sleep next to, sit next to, stand next to, park next, walk next to, above, behind, "
    "stand behind, sit behind, park behind, in the front of, under, stand under, sit under, near, walk to, walk, "
    "walk past, in, below, beside, walk beside, over, hold, by, beneath, with, on the top of, on the left of, "
    "on the right of, sit on, ride, carry, look, stand on, use, at, attach to, cover, touch, watch, against, inside, "
    "adjacent to, across, contain, drive, drive on, taller than, eat, park on, lying on, pull, talk, lean on, fly, "
    "face, play with, sleep on, outside of, rest on, follow, hit, feed, kick, skate on"
)
_WHAT = "VRD's annotations, {file name: [relation, ...]}"


class VrdReader:
    """Reads annotations_train.json and annotations_test.json, with objects.json and predicates.json beside them.

    Args:
        path: their folder, or one of the two. sg_train_annotations.json and sg_test_annotations.json in it add objects
            and attributes.

    Raises:
        UserError: a file is absent or is not VRD's.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "annotations_train.json and objects.json")
        given = {part: path / f"annotations_{part}.json" for part in PARTS}
        self._annotations = {part: f for part, f in given.items() if only in (None, f.name) and f.exists()}
        if not self._annotations:
            raise UserError(f"{path} holds neither annotations_train.json nor annotations_test.json of VRD")
        graphs = {part: path / f"sg_{part}_annotations.json" for part in PARTS}
        self._graphs = {part: file for part, file in graphs.items() if part in self._annotations and file.exists()}
        self.files = [path / "objects.json", path / "predicates.json"]
        self.files += [*self._annotations.values(), *self._graphs.values()]
        self._objects = names(path / "objects.json", "VRD's list of object names")
        self._predicates = names(path / "predicates.json", "VRD's list of predicates")
        self._read: dict[str, dict[str, Any]] = {
            part: load(file, dict, _WHAT) for part, file in self._annotations.items()
        }
        self.about = About(
            licence="annotations: individual research use only, no redistribution; pictures: Flickr, their owners'",
            citation="Lu, Krishna, Bernstein, Fei-Fei: Visual Relationship Detection with Language Priors. ECCV 2016",
            notes=tuple(self._notes(path)),
            published={"train": 4000, "test": 1000},
            passes=2 if self._graphs else 1,
            published_relations={"train": 37_993 - 7_638, "test": 7_638},
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the annotations; they have no sizes there."""
        for part, pictures in self._read.items():
            for file in pictures:
                source = f"{self._annotations[part].name}#{file}"
                yield Picture(PurePosixPath(file).stem, file, part, source, origin=f"vrd:{PurePosixPath(file).stem}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield relations and the objects they relate, then objects and attributes of the scene graphs."""
        for part, pictures in self._read.items():
            for file, relations in pictures.items():
                source = f"{self._annotations[part].name}#{file}"
                if not isinstance(relations, list):
                    yield Rejected(source, "malformed record", "the relations of a picture are not a list")
                    continue
                yield from self._relations(PurePosixPath(file).stem, relations, source)
        for path in self._graphs.values():
            for place, graph in enumerate(load(path, list, "VRD's scene graphs, a list of pictures")):
                yield from _scene_graph(graph, f"{path.name}#{place}")

    def _relations(self, image_id: str, relations: list[Any], source: str) -> Iterator[Label | Rejected]:
        seen: set[tuple[str, Box]] = set()
        for place, relation in enumerate(relations):
            where = f"{source}/{place}"
            try:
                things = [self._thing(field(relation, role, dict)) for role in ("subject", "object")]
                predicate = entry(self._predicates, field(relation, "predicate", int), "predicate")
            except MalformedError as error:
                yield Rejected(where, "malformed record", str(error))
                continue
            except IndexError as error:
                yield Rejected(where, "index out of range", str(error))
                continue
            (subject, subject_box), (thing, thing_box) = things
            yield Label(image_id, (subject, predicate, thing), where, subject_box, thing_box)
            for (name, box), role in zip(things, ("subject", "object"), strict=True):
                if (name, box) not in seen:  # one thing stands in many relations
                    seen.add((name, box))
                    yield Label(image_id, (name, None, None), f"{where}/{role}", box)

    def _thing(self, record: dict[str, Any]) -> tuple[str, Box]:
        name = entry(self._objects, field(record, "category", int), "category")
        y1, y2, x1, x2 = four_numbers(field(record, "bbox", list))
        return name, (x1 - 1, y1 - 1, x2, y2)

    def _notes(self, path: Path) -> Iterator[str]:
        yield f"Stanford VRD, prepared from {path.name}."
        for found, wanted, file in (
            (self._objects, OBJECTS, "objects.json"),
            (self._predicates, PREDICATES, "predicates.json"),
        ):
            official = wanted.split(", ")
            pairs = list(zip(found, official, strict=False))
            other = [f"'{name}' for '{known}'" for name, known in pairs if normalise_text(name) != known]
            if len(found) != len(official):
                yield f"{file} has {len(found)} names, where the authors published {len(official)}."
            elif other:
                yield f"{file} differs from the authors' list in {len(other)} names, such as {other[0]}."
        if not self._graphs:
            yield "Without sg_train_annotations.json and sg_test_annotations.json: no attribute, so no fact <s, p>."
        for part in PARTS:
            if part not in self._annotations:
                yield f"annotations_{part}.json is not there: the data set has no part {part}."


def _scene_graph(graph: Any, source: str) -> Iterator[Label | Rejected]:
    """Yield <s> for each object's names and <s, p> for its attributes; the relations are in the annotations."""
    try:
        image_id = PurePosixPath(field(graph, "filename", str)).stem
        objects = field(graph, "objects", list)
    except MalformedError as error:
        yield Rejected(source, "malformed record", str(error))
        return
    for place, thing in enumerate(objects):
        where = f"{source}/{place}"
        try:
            corner = field(thing, "bbox", dict)
            x, y, w, h = (number(corner.get(key), f"bbox.{key}") for key in "xywh")
            called = field(thing, "names", list)
            attributes = [field(item, "attribute", str) for item in thing.get("attributes") or []]
            if not called or not all(isinstance(name, str) for name in called):
                raise MalformedError("'names' is not a list of names")
        except (MalformedError, TypeError) as error:
            yield Rejected(where, "malformed record", str(error))
            continue
        box = (x, y, x + w, y + h)
        yield Label(image_id, (called[0], None, None), where, box)
        for attribute in attributes:
            yield Label(image_id, (called[0], attribute, None), f"{where}/{attribute}", box)


prepare = source_command(
    VrdReader,
    "Stanford VRD: annotations_{train,test}.json, objects.json, predicates.json, and sg_* if there.",
)

if __name__ == "__main__":
    run_alone(prepare)
