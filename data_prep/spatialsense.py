"""SpatialSense (Yang et al., ICCV 2019): spatial relations of Flickr and NYU pictures, true ones and false ones.

Boxes are [y0, y1, x0, x1], 0-based and half-open: those of things cut off end at the picture's height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, field, four_numbers, load
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.facts import is_unicode

PARTS = {"train": "train", "valid": "val", "test": "test"}
PICTURES, PREDICATES = 11_569, 9
LARGEST_SIDE = (1 << 31) - 1
_WHAT = "SpatialSense's annotations, a list of pictures {url, width, height, split, annotations}"


class SpatialSenseReader:
    """Reads annotations.json.

    Args:
        path: the file, or the folder that holds it as annotations.json.

    Raises:
        UserError: the file is absent or is not a list.
    """

    def __init__(self, path: Path) -> None:
        self._file = path / "annotations.json" if path.is_dir() else path
        self.files = [self._file]
        self._data = load(self._file, list, _WHAT)
        self.about = About(
            licence="annotations: as doi.org/10.5281/zenodo.8104370 states, the authors' code: BSD 2-Clause; "
            "pictures: of Flickr and NYU, their owners'",
            citation="Yang, Russakovsky, Deng: SpatialSense: An Adversarially Crowdsourced Benchmark for Spatial "
            "Relation Recognition. ICCV 2019",
            notes=tuple(self._notes()),
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures in the order of the file."""
        for picture, _ in self._records():
            yield picture

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the relations that hold and the things they relate; what `pictures` rejected is passed over.

        A relation that does not hold is rejected, and its things are not taken from it.
        """
        for picture, record in self._records():
            if not isinstance(picture, Picture):
                continue
            try:
                annotations = field(record, "annotations", list)
            except MalformedError as error:
                yield Rejected(f"{picture.source}/annotations", "malformed record", str(error))
                continue
            seen: set[tuple[str, Box]] = set()
            for place, annotation in enumerate(annotations):
                yield from _relation(picture.image_id, annotation, f"{picture.source}/annotations/{place}", seen)

    def _records(self) -> Iterator[tuple[Picture | Rejected, Any]]:
        for place, record in enumerate(self._data):
            source = f"{self._file.name}#{place}"
            try:
                yield _picture(record, source), record
            except MalformedError as error:
                yield Rejected(source, "malformed record", str(error)), record

    def _notes(self) -> Iterator[str]:
        yield f"SpatialSense, prepared from {self._file.name}; relations labelled as not holding are left out."
        if len(self._data) != PICTURES:
            yield f"{len(self._data):,} pictures, where the authors published {PICTURES:,}."
        found = {
            annotation["predicate"]
            for record in self._data
            if isinstance(record, dict) and isinstance(record.get("annotations"), list)
            for annotation in record["annotations"]
            if isinstance(annotation, dict) and isinstance(annotation.get("predicate"), str)
        }
        if len(found) != PREDICATES:
            yield f"{len(found):,} predicates, where the authors published {PREDICATES}."


def _picture(record: Any, source: str) -> Picture:
    """Return a picture: its file is the last part of its url, in the folder flickr or nyu of the authors' archive."""
    url, part = field(record, "url", str), field(record, "split", str)
    size = (field(record, "width", int), field(record, "height", int))
    name = PurePosixPath(url.strip().rsplit("/", 1)[-1])
    if not name.stem or not is_unicode(url):
        raise MalformedError("'url' names no file")
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise MalformedError("'width' and 'height' are not those of a picture")
    on_flickr = url.startswith("http")  # the others give a path
    kind = "flickr" if on_flickr else "nyu"
    return Picture(
        f"{kind}/{name.stem}",
        f"{kind}/{name}",
        PARTS.get(part, part),
        source,
        size,
        origin=f"flickr:{name.stem.split('_')[0]}" if on_flickr else f"nyu:{name.stem}",
        url=url if on_flickr else None,
    )


def _relation(image_id: str, record: Any, where: str, seen: set[tuple[str, Box]]) -> Iterator[Label | Rejected]:
    """Yield a relation and those of its two things that are not in `seen` yet."""
    try:
        if not field(record, "label", bool):
            yield Rejected(where, "negative label", "'label' is false")
            return
        predicate = field(record, "predicate", str)
        things = [_thing(field(record, role, dict)) for role in ("subject", "object")]
    except MalformedError as error:
        yield Rejected(where, "malformed record", str(error))
        return
    (subject, subject_box), (other, other_box) = things
    yield Label(image_id, (subject, predicate, other), where, subject_box, other_box)
    for (name, box), role in zip(things, ("subject", "object"), strict=True):
        if (name, box) not in seen:  # one thing stands in many relations
            seen.add((name, box))
            yield Label(image_id, (name, None, None), f"{where}/{role}", box)


def _thing(record: dict[str, Any]) -> tuple[str, Box]:
    y0, y1, x0, x1 = four_numbers(field(record, "bbox", list))
    return field(record, "name", str), (x0, y0, x1, y1)


prepare = source_command(SpatialSenseReader, "SpatialSense: annotations.json, spatial relations.")

if __name__ == "__main__":
    run_alone(prepare)
