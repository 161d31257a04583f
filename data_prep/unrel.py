"""UnRel (Peyre et al., ICCV 2017): unusual relations, such as a dog riding a bike, in 1,071 pictures for test alone.

annotations.mat holds a cell of structs {filename, im_id, relationships, objects}: relationships is a cell of structs
{sub, obj, sub_box, obj_box, rels}, where rels (or predicates) is a cell of one predicate or more; objects, if there, is
a cell of structs {category, box}. Boxes are [xmin, ymin, xmax, ymax], 1-based and inclusive, as the authors' own code
measures them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, field, four_numbers
from data_prep.mat_files import listed, load_variable
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

PICTURES, TRIPLETS = 1071, 76
_WHAT = "UnRel's annotations.mat, a cell of pictures {filename, im_id, relationships, objects}"
_QUERIES = "annotated_triplets.mat"


class UnrelReader:
    """Reads annotations.mat; annotated_triplets.mat beside it, if there, is for the card alone.

    Args:
        path: the folder that holds it, with the pictures in images/; or the file.

    Raises:
        UserError: a file is absent or is not UnRel's.
    """

    def __init__(self, path: Path) -> None:
        self._file = path / "annotations.mat" if path.is_dir() else path
        folder = self._file.parent
        self._data = listed(load_variable(self._file, "annotations", _WHAT))
        if not self._data:
            raise UserError(f"{self._file}: annotations holds no picture: it should be {_WHAT}")
        self.files = [self._file, *(file for file in [folder / _QUERIES] if file.exists())]
        self.about = About(
            licence="UnRel's own: for non-commercial scientific research alone, not to be changed or passed on without "
            "INRIA's consent",
            citation="Peyre, Laptev, Schmid, Sivic: Weakly-Supervised Learning of Visual Relations. ICCV 2017",
            notes=tuple(self._notes()),
            published={"test": PICTURES},
            images=folder / "images" if (folder / "images").is_dir() else None,
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the file, all of them test."""
        for place, record in enumerate(self._data):
            source = f"{self._file.name}#{place}"
            try:
                file = _file_of(record)
            except MalformedError as error:
                yield Rejected(source, "malformed record", str(error))
                continue
            yield Picture(file.stem, str(file), "test", source, origin=f"unrel:{file.stem}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield <subject, predicate, object> for each predicate of each pair, and each thing of a picture once."""
        for place, record in enumerate(self._data):
            source, seen = f"{self._file.name}#{place}", set[tuple[str, Box]]()
            try:
                image_id = _file_of(record).stem
            except MalformedError:
                continue  # told with the pictures
            for key, read in (("objects", _object), ("relationships", _relation)):
                if key == "objects" and key not in record:
                    continue  # the things of the relationships are told with them
                try:
                    given = listed(field(record, key, (list, dict)))
                except MalformedError as error:
                    yield Rejected(f"{source}/{key}", "malformed record", str(error))
                    continue
                for number, item in enumerate(given):
                    where = f"{source}/{key}/{number}"
                    try:
                        yield from read(image_id, item, where, seen)
                    except MalformedError as error:
                        yield Rejected(where, "malformed record", str(error))

    def _notes(self) -> Iterator[str]:
        yield f"UnRel, prepared from {self._file.name}; all its pictures are for test, there is nothing to train on."
        if len(self.files) > 1:
            what = f"UnRel's, with its unusual triplets; the source can be prepared without {_QUERIES}"
            queries = load_variable(self.files[1], "triplets", what)
            if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
                raise UserError(f"{self.files[1]}: triplets is not a list of text: it should be {what}")
            expected = "" if len(queries) == TRIPLETS else f", where the authors published {TRIPLETS}"
            yield f"{len(queries):,} unusual triplets are in {_QUERIES}{expected}."


def _file_of(record: Any) -> PurePosixPath:
    file = PurePosixPath(field(record, "filename", str))
    if not file.stem:
        raise MalformedError("'filename' names no file")
    return file


def _object(image_id: str, record: Any, where: str, seen: set[tuple[str, Box]]) -> Iterator[Label]:
    yield from _once(image_id, (field(record, "category", str), _box(record, "box")), where, seen)


def _relation(image_id: str, record: Any, where: str, seen: set[tuple[str, Box]]) -> Iterator[Label | Rejected]:
    """Yield a fact for each predicate of a pair, and those of its two things that `objects` does not have."""
    subject, other = ((field(record, key, str), _box(record, f"{key}_box")) for key in ("sub", "obj"))
    key = "rels" if "rels" in record else "predicates"  # both names are told of in public readers
    given = field(record, key, (list, str))
    predicates = given if isinstance(given, list) else [given]  # one alone comes as itself
    if not predicates:
        raise MalformedError(f"'{key}' holds no predicate")
    for place, predicate in enumerate(predicates):
        if isinstance(predicate, str):
            yield Label(image_id, (subject[0], predicate, other[0]), f"{where}/{key}/{place}", subject[1], other[1])
        else:
            yield Rejected(f"{where}/{key}/{place}", "malformed record", "the predicate is not text")
    yield from _once(image_id, subject, f"{where}/sub", seen)
    yield from _once(image_id, other, f"{where}/obj", seen)


def _once(image_id: str, thing: tuple[str, Box], where: str, seen: set[tuple[str, Box]]) -> Iterator[Label]:
    if thing not in seen:
        seen.add(thing)
        yield Label(image_id, (thing[0], None, None), where, thing[1])


def _box(record: Any, key: str) -> Box:
    x1, y1, x2, y2 = four_numbers(field(record, key, list), key)
    return (x1 - 1, y1 - 1, x2, y2)


prepare = source_command(
    UnrelReader, "UnRel: annotations.mat, unusual relations, with the pictures in images/.", with_pictures=True
)

if __name__ == "__main__":
    run_alone(prepare)
