"""COCO instances: a fact <s> for each object, for sequences of object recognition tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from data_prep.coco_instances import Instances, box_of, read_instances
from data_prep.command import run_alone, source_command
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.errors import UserError

_FILE = re.compile(r"instances_(train|val|minival|valminusminival)(\d{4})\.json")


class CocoReader:
    """Reads instances_train*.json and instances_val*.json; the official val part becomes the test part.

    COCO's own test annotations are not public. A validation part is carved out of train.

    Args:
        path: one such file, or a folder that holds them, itself or in `annotations/`.

    Raises:
        UserError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        found = [path] if path.is_file() else sorted([*path.glob("instances_*.json"), *path.glob("*/instances_*.json")])
        named = {file: _FILE.fullmatch(file.name) for file in found}
        self._part = {file: "train" if match[1] == "train" else "test" for file, match in named.items() if match}
        if not self._part:
            raise UserError(f"{path} holds no instances_train2017.json, instances_val2017.json or the like of COCO")
        self.files = list(self._part)
        years = {match[2] for match in named.values() if match}
        if len(years) > 1:
            raise UserError(f"{path} holds COCO of {' and '.join(sorted(years))}: give a folder with one of them")
        self.about = About(
            licence="annotations: CC BY 4.0; pictures: Flickr, their owners'",
            citation="Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014",
            notes=(
                "COCO instances; the official val part is the test part here.",
                "Crowds (iscrowd) are left out: their box is not that of one object.",
            ),
            published={"train": 118287, "test": 5000} if years == {"2017"} else {"train": 82783, "test": 40504},
        )

    @cached_property
    def _read(self) -> dict[Path, Instances]:
        return {file: read_instances(file) for file in self.files}

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of all files."""
        for file, instances in self._read.items():
            for number, image in instances.index.imgs.items():
                width, height = image.get("width"), image.get("height")
                whole = all(type(side) is int and side > 0 for side in (width, height))
                yield Picture(
                    _name(image["file_name"]),
                    image["file_name"],
                    self._part[file],
                    f"{file.name}#images/{number}",
                    size=(width, height) if whole else None,
                    origin=f"coco:{number}",
                    url=image["flickr_url"] if isinstance(image.get("flickr_url"), str) else None,
                )

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield <s> for each object that is not a crowd."""
        for file, instances in self._read.items():
            yield from instances.rejected
            for number, annotation in instances.index.anns.items():
                source = f"{file.name}#annotations/{number}"
                if annotation.get("iscrowd"):
                    yield Rejected(source, "not asked for", "a crowd, not one object")
                    continue
                image = instances.index.imgs[annotation["image_id"]]
                yield Label(
                    _name(image["file_name"]), (instances.name_of(annotation), None, None), source, box_of(annotation)
                )


def _name(file: str) -> str:
    """Return the path of a picture without its ending: COCO's own are in one folder, those of others may be in many."""
    path = PurePosixPath(file)
    return str(path.with_suffix("")) if path.name else file


prepare = source_command(CocoReader, "COCO: instances_train2017.json and instances_val2017.json, or those of 2014.")

if __name__ == "__main__":
    run_alone(prepare)
