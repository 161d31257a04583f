"""Lists in the form of HOI-A, as HICO-DET and V-COCO are often re-packed: things, and who does what with which.

[{file_name, annotations: [{bbox, category_id}], hoi_annotation: [{subject_id, object_id, category_id}]}, ...]: the
first category_id is COCO's, the second a verb's; subject_id and object_id are places in annotations, -1 is no thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.coco_categories import COCO_CATEGORIES
from data_prep.json_files import MalformedError, field
from data_prep.records import Rejected

NO_THING = -1


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """One record: file name, where it stands, its things and its pairs, not looked at yet."""

    file: str
    source: str
    things: list[Any]
    pairs: list[Any]


@dataclass(frozen=True, slots=True)
class ListedPair:
    """Who does what with which thing.

    Attributes:
        source: file and record it was read from.
        verb: as the data set's table of verbs says.
        person: place of the person among the things of the picture.
        person_box: as it stands in the file.
        thing: name and box, as it stands in the file, of the thing; None where there is none.
    """

    source: str
    verb: str
    person: int
    person_box: list[Any]
    thing: tuple[str, list[Any]] | None


def listed_pictures(records: list[Any], name: str) -> Iterator[ListedPicture | Rejected]:
    """Yield the record of each picture.

    Args:
        records: what the file holds.
        name: what sources begin with, such as "trainval_hico.json#"; the place in the list follows.
    """
    for place, record in enumerate(records):
        source = f"{name}{place}"
        try:
            file = field(record, "file_name", str)
            yield ListedPicture(file, source, field(record, "annotations", list), field(record, "hoi_annotation", list))
        except MalformedError as error:
            yield Rejected(source, "malformed record", str(error))


def listed_pairs(picture: ListedPicture, verbs: Mapping[int, str]) -> Iterator[ListedPair | Rejected]:
    """Yield the pairs of a picture.

    Args:
        picture: of `listed_pictures`.
        verbs: number in the file -> verb.
    """
    for place, pair in enumerate(picture.pairs):
        where = f"{picture.source}/{place}"
        try:
            verb, person, thing = (_number(pair, key) for key in ("category_id", "subject_id", "object_id"))
            if verb not in verbs:
                raise IndexError(f"verb {verb} is not one of {min(verbs)} to {max(verbs)}")
            count = len(picture.things)
            if not 0 <= person < count or not NO_THING <= thing < count:
                raise IndexError(f"person {person} or thing {thing} is none of the {count} annotations")
            found = None if thing == NO_THING else _thing(picture.things[thing])
            person_box = field(picture.things[person], "bbox", list)
        except IndexError as error:
            yield Rejected(where, "index out of range", str(error))
        except MalformedError as error:
            yield Rejected(where, "malformed record", str(error))
        else:
            yield ListedPair(where, verbs[verb], person, person_box, found)


def _thing(record: Any) -> tuple[str, list[Any]]:
    category = _number(record, "category_id")
    if category not in COCO_CATEGORIES:
        raise IndexError(f"{category} is no category of COCO")
    return COCO_CATEGORIES[category], field(record, "bbox", list)


def _number(record: Any, key: str) -> int:
    """Return a whole number; HOI-A's files have some of them as text, with a line break."""
    value = field(record, key, (int, float, str))
    try:
        number = int(value)
        whole = isinstance(value, str) or number == value
    except (ValueError, OverflowError):
        whole = False
    if not whole:
        raise MalformedError(f"'{key}' is no whole number")
    return number
