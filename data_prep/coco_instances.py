"""COCO's instance annotations, read through pycocotools: what `coco` prepares, and where V-COCO has its boxes from."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from data_prep.json_files import MalformedError, field, four_numbers, load
from data_prep.records import Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

_WHAT = "COCO's instances, an object with images, annotations and categories"


@dataclass(frozen=True)
class Instances:
    """One file of instances.

    Attributes:
        index: pycocotools' index of the records that are whole.
        rejected: the records that are not.
    """

    index: COCO
    rejected: list[Rejected]

    def name_of(self, annotation: dict[str, Any]) -> str:
        """Return the name of an annotation's category."""
        return str(self.index.cats[annotation["category_id"]]["name"])


def box_of(annotation: dict[str, Any]) -> Box:
    """Return an annotation's box: COCO's is x, y, width, height, 0-based."""
    x, y, width, height = annotation["bbox"]
    return (float(x), float(y), float(x) + float(width), float(y) + float(height))


def read_instances(path: Path) -> Instances:
    """Read one file of instances.

    Raises:
        UserError: it is absent, or not COCO's.
    """
    read = load(path, dict, _WHAT)
    for key in ("images", "annotations", "categories"):
        if not isinstance(read.get(key), list):
            raise UserError(f"{path} has no list '{key}': it should be {_WHAT}")
    rejected: list[Rejected] = []
    categories = _whole(read["categories"], path, "categories", rejected)
    images = _whole(read["images"], path, "images", rejected)
    annotations = _whole(read["annotations"], path, "annotations", rejected)
    known = ({image["id"] for image in images}, {category["id"] for category in categories})
    placed = []
    for annotation in annotations:
        if annotation["image_id"] not in known[0] or annotation["category_id"] not in known[1]:
            detail = f"image {annotation['image_id']} or category {annotation['category_id']} is not in the file"
            rejected.append(Rejected(f"{path.name}#annotations/{annotation['id']}", "orphan id", detail))
        else:
            placed.append(annotation)
    index = COCO()
    index.dataset = {"images": images, "annotations": placed, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it is building an index
        index.createIndex()
    return Instances(index, rejected)


def _whole(records: list[Any], path: Path, key: str, rejected: list[Rejected]) -> list[dict[str, Any]]:
    found, seen = [], set()
    for place, record in enumerate(records):
        try:
            number = field(record, "id", int)
            if number in seen:
                raise MalformedError(f"the id {number} is there twice")
            if key == "categories":
                field(record, "name", str)
            elif key == "images":
                field(record, "file_name", str)
            else:
                field(record, "image_id", int)
                field(record, "category_id", int)
                four_numbers(field(record, "bbox", list))
        except MalformedError as error:
            rejected.append(Rejected(f"{path.name}#{key}[{place}]", "malformed record", str(error)))
            continue
        seen.add(number)
        found.append(record)
    return found
