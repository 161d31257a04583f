"""VG150 (Xu et al., CVPR 2017): Visual Genome with 150 objects and 50 predicates, as an HDF5 file for its pictures.

Row i of the file is picture i of image_data.json without the four pictures that cannot be used. `labels`, `boxes_1024`
and `attributes` have a row for each object, `relationships` and `predicates` for each relation; `img_to_first_...` and
`img_to_last_...` say which rows are a picture's (the last one is its own, -1 is none). `relationships` are two rows of
`labels`. A box is its centre, width and height in the picture scaled to a longer side of 1024 (or 512) pixels.

The file has train (0) and test (2). The usual loaders take as val the first 5,000 pictures of train that have boxes and
relations, and so does this one; the train pictures without them stay in train, wherever they are in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.command import run_alone, source_command
from data_prep.h5_files import Tables, consecutive, unheld
from data_prep.json_files import MalformedError, field, load, stream
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from data_prep.vg_images import WHAT, image_number, picture_of
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

PICTURES = 108_073
VALIDATION = 5000
UNUSABLE = ("1592", "1722", "4616", "4617")
WORDS = {"idx_to_label": 150, "idx_to_predicate": 50}
_PLAIN = ("VG-SGG.h5", "VG-SGG-dicts.json")
_WITH_ATTRIBUTES = ("VG-SGG-with-attri.h5", "VG-SGG-dicts-with-attri.json")
_SIDES = {"boxes_1024": 1024, "boxes_512": 512}
_OF_PICTURES = ("split", "img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel")
_H5 = "VG150's VG-SGG.h5 or VG-SGG-with-attri.h5"
_DICTS = "VG150's VG-SGG-dicts.json, or VG-SGG-dicts-with-attri.json if the .h5 has attributes"

Numbers = NDArray[np.int64]


class Vg150Reader:
    """Reads VG-SGG-with-attri.h5, or VG-SGG.h5 where that is absent, with its dictionaries and image_data.json.

    Args:
        path: their folder.

    Raises:
        UserError: a file is absent, damaged or not VG150's.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "VG-SGG.h5, its dicts and image_data.json")
        self._path = path
        self._h5 = path / only if only else _first_of(path, _WITH_ATTRIBUTES[0], _PLAIN[0])
        beside = _WITH_ATTRIBUTES[1] if self._h5.name == _WITH_ATTRIBUTES[0] else _PLAIN[1]
        self._dicts = _first_of(path, beside, _WITH_ATTRIBUTES[1], _PLAIN[1])
        self._images = _first_of(path, "image_data.json.zip", "image_data.json")
        self.files = [self._h5, self._dicts, self._images]
        self._read_tables()
        info = load(self._dicts, dict, _DICTS)
        keys = [*WORDS, "idx_to_attribute"] if self._attributes is not None else WORDS
        self._words = {key: _numbered(info, key, self._dicts) for key in keys}
        self._image_ids: list[str | None] = []
        self._sizes: Mapping[str, tuple[int, int] | None] = {}
        self.about = About(
            licence="annotations: CC BY 4.0; pictures: YFCC100M and COCO, their owners'",
            citation="Xu, Zhu, Choy, Fei-Fei: Scene Graph Generation by Iterative Message Passing. CVPR 2017",
            notes=tuple(self._notes()),
            published={"all": PICTURES},
        )

    def _read_tables(self) -> None:
        names = ("labels", *_SIDES, "attributes", "relationships", "predicates", *_OF_PICTURES)
        tables = Tables(self._h5, names, _H5)
        self._grid = next((name for name in _SIDES if name in tables), "boxes_1024")
        self._labels = tables.whole("labels", 1)[:, 0]
        centres = tables.numbers(self._grid, 4).astype(np.float64)
        corners = centres[:, :2] - centres[:, 2:] / 2
        self._boxes = np.hstack([corners, corners + centres[:, 2:]])
        wanted = self._h5.name == _WITH_ATTRIBUTES[0] or "attributes" in tables
        self._attributes = tables.whole("attributes", None) if wanted else None
        self._relationships = tables.whole("relationships", 2)
        self._predicates = tables.whole("predicates", 1)[:, 0]
        self._of_pictures = {name: tables.whole(name, 1)[:, 0] for name in _OF_PICTURES}
        tables.check_rows("labels", self._grid, "attributes")
        tables.check_rows("relationships", "predicates")
        tables.check_rows(*_OF_PICTURES)

    def _notes(self) -> Iterator[str]:
        yield f"VG150, from {', '.join(file.name for file in self.files)}."
        if self._h5.name == _WITH_ATTRIBUTES[0] and (self._path / _PLAIN[0]).exists():
            yield f"{_PLAIN[0]} is there too and was not read: {self._h5.name} is the same with attributes."
        if self._attributes is None:
            yield f"{self._h5.name} has no attributes: there are no facts of a subject and a predicate alone."
        if self._grid != "boxes_1024":
            yield f"{self._h5.name} has no boxes_1024: boxes are from the coarser {self._grid}."
        for key, number in WORDS.items():
            if len(self._words[key]) != number:
                found = len(self._words[key])
                yield f"{key} of {self._dicts.name} has {found:,} words, where the authors published {number}."

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of image_data.json; their parts are those of the rows of the .h5.

        Raises:
            UserError: there are not as many pictures as rows.
        """
        parts, h5 = self._parts(), self._h5.name
        for place, record in enumerate(stream(self._images, WHAT)):
            source = f"{self._images.name}#{place}"
            if _is_unusable(record):
                yield Rejected(source, "unreadable image", f"one of the four pictures without a row in {h5}")
                continue
            row = len(self._image_ids)
            if row >= len(parts):
                self._image_ids.append(None)  # counted, to be told below
                continue
            picture = picture_of(record, source, parts[row])
            if isinstance(picture, Picture) and picture.part is None:
                detail = f"the split of picture {picture.image_id} is {self._of_pictures['split'][row]}, not 0 or 2"
                picture = Rejected(f"{h5}#split/{row}", "unknown part", detail)
            self._image_ids.append(picture.image_id if isinstance(picture, Picture) else None)
            yield picture
        if len(self._image_ids) != len(parts):
            raise UserError(
                f"{self._h5} has {len(parts):,} rows of pictures, but {self._images} {len(self._image_ids):,} pictures "
                f"(without {', '.join(UNUSABLE)}): row i is picture i, so take the image_data.json it was made from"
            )

    def _parts(self) -> list[str | None]:
        """Return the part of each row of pictures."""
        split, *firsts = (self._of_pictures[name] for name in ("split", "img_to_first_box", "img_to_first_rel"))
        parts = np.full(len(split), None, dtype=object)
        parts[split == 0], parts[split == 2] = "train", "test"
        labelled = (split == 0) & (firsts[0] >= 0) & (firsts[1] >= 0)
        parts[np.flatnonzero(labelled)[:VALIDATION]] = "val"
        found: list[str | None] = parts.tolist()
        return found

    def take_sizes(self, sizes: Mapping[str, tuple[int, int] | None]) -> None:
        """Take the (width, height) of pictures: the boxes are scaled by the files' own, not by image_data.json's."""
        self._sizes = sizes

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the facts of each picture: objects <s>, their attributes <s, p>, then relations <s, p, o>."""
        objects, problems = self._rows_of_pictures("box", "labels")
        yield from problems
        relations, problems = self._rows_of_pictures("rel", "relationships")
        yield from problems
        for image, (first, end), (start, stop) in zip(
            self._image_ids, objects.tolist(), relations.tolist(), strict=True
        ):
            if image is None:
                continue  # all that would be its own is among the problems
            size = self._sizes.get(image)
            scale = max(size) / _SIDES[self._grid] if size else 1.0  # no size: the picture was refused
            boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in (self._boxes[first:end] * scale).tolist()]
            labels = self._labels[first:end].tolist()
            yield from self._objects(image, range(first, end), labels, boxes)
            yield from self._relations(image, range(start, stop), range(first, end), labels, boxes)

    def _objects(self, image: str, rows: range, labels: list[int], boxes: list[Box]) -> Iterator[Label | Rejected]:
        for row, label, box in zip(rows, labels, boxes, strict=True):
            yield self._label(image, f"labels/{row}", [("idx_to_label", label)], box)
        if self._attributes is None:
            return
        given = self._attributes[rows.start : rows.stop].tolist()
        for row, label, box, numbers in zip(rows, labels, boxes, given, strict=True):
            for place, number in enumerate(numbers):
                if number != 0:  # 0 fills the row up
                    words = [("idx_to_label", label), ("idx_to_attribute", number)]
                    yield self._label(image, f"attributes/{row}/{place}", words, box)

    def _relations(
        self, image: str, rows: range, objects: range, labels: list[int], boxes: list[Box]
    ) -> Iterator[Label | Rejected]:
        pairs = self._relationships[rows.start : rows.stop].tolist()
        predicates = self._predicates[rows.start : rows.stop].tolist()
        for row, (one, two), predicate in zip(rows, pairs, predicates, strict=True):
            place = f"relationships/{row}"
            if one not in objects or two not in objects:
                detail = f"objects {one} and {two} are not both of picture {image}, which has {len(objects)} from "
                yield Rejected(f"{self._h5.name}#{place}", "index out of range", f"{detail}{objects.start} on")
                continue
            one, two = one - objects.start, two - objects.start
            words = [("idx_to_label", labels[one]), ("idx_to_predicate", predicate), ("idx_to_label", labels[two])]
            yield self._label(image, place, words, boxes[one], boxes[two])

    def _label(
        self, image: str, place: str, numbers: list[tuple[str, int]], subject: Box, thing: Box | None = None
    ) -> Label | Rejected:
        """Return the fact of these numbers, each with the key of its dictionary."""
        source, words = f"{self._h5.name}#{place}", []
        for key, number in numbers:
            word = self._words[key].get(number)
            if word is None:
                return Rejected(source, "index out of range", f"{number} is not in {key} of {self._dicts.name}")
            words.append(word)
        predicate, other = words[1] if len(words) > 1 else None, words[2] if len(words) > 2 else None
        return Label(image, (words[0], predicate, other), source, subject, thing)

    def _rows_of_pictures(self, kind: str, table: str) -> tuple[Numbers, list[Rejected]]:
        """Return the first row of each picture and the one after its last, (n, 2); and what cannot be used of them."""
        name = f"img_to_first_{kind}"
        first, last = self._of_pictures[name], self._of_pictures[f"img_to_last_{kind}"]
        total = len(self._labels) if kind == "box" else len(self._relationships)
        rows, wrong = consecutive(first, last, total)
        rows[[image is None for image in self._image_ids]] = 0
        problems = []
        for row in np.flatnonzero(wrong).tolist():
            detail = f"{table} {first[row]} to {last[row]} are not there, or not after those of the pictures before"
            problems.append(Rejected(f"{self._h5.name}#{name}/{row}", "index out of range", detail))
        for row in unheld(rows, total):
            problems.append(
                Rejected(f"{self._h5.name}#{table}/{row}", "orphan id", "no picture that can be used has it")
            )
        return rows, problems


def _first_of(path: Path, *names: str) -> Path:
    """Return the first of the files that is there, or the last, of which is then told why it cannot be read."""
    for name in names[:-1]:
        with suppress(OSError):  # the folder may not be looked into
            if (path / name).exists():
                return path / name
    return path / names[-1]


def _is_unusable(record: Any) -> bool:
    try:
        return image_number(record) in UNUSABLE
    except MalformedError:
        return False


def _numbered(info: dict[str, Any], key: str, file: Path) -> dict[int, str]:
    """Return the words of a dictionary by their numbers; 0 is the background in it, or nothing.

    Raises:
        UserError: it is absent, or an entry is no number with its word.
    """
    try:
        given = field(info, key, dict)
        for number, word in given.items():
            if not (number.isascii() and number.isdecimal() and len(number) < 10 and isinstance(word, str)):
                raise MalformedError(f"{number!r:.40} in '{key}' is no number with its word")
    except MalformedError as error:
        raise UserError(f"{file}: {error}; it should be {_DICTS}") from None
    return {int(number): word for number, word in given.items() if int(number) != 0}


prepare = source_command(Vg150Reader, "VG150: VG-SGG.h5 or VG-SGG-with-attri.h5, with its dicts and image_data.json.")

if __name__ == "__main__":
    run_alone(prepare)
