"""V-COCO (Gupta and Malik, 2015): what people do in COCO's pictures, in its own form and re-packed in two others."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.command import run_alone, source_command
from data_prep.places import folder_of
from data_prep.records import Reader
from data_prep.vcoco_original import Files, OriginalReader
from data_prep.vcoco_repacked import ListReader, PairsReader
from mas_triplets.errors import UserError

_PARTS = {"train": "train", "val": "val", "trainval": "train", "test": "test"}
_FORMS = (
    (r"instances_vcoco_(\w+)\.json", PairsReader),
    (r"vcoco_(\w+)\.json", OriginalReader),
    (r"(trainval|test)_vcoco\.json", ListReader),
)


def vcoco_reader(path: Path) -> Reader:
    """Return the reader for what is in the folder: pairs (instances_vcoco_*.json), the original files, or the lists.

    Of several forms, the first that has training pictures is taken.

    Raises:
        UserError: none of them is there.
    """
    path, only = folder_of(path, "vcoco_train.json of V-COCO")
    there = sorted(file for file in path.rglob("*.json") if only in (None, file.name) and file.is_file())
    found = [(_files(there, pattern), make) for pattern, make in _FORMS]
    for files, make in sorted(found, key=lambda form: "train" not in form[0]):
        if files:
            return make(path, files)
    raise UserError(
        f"{path} holds neither vcoco_train.json nor instances_vcoco_train.json nor trainval_vcoco.json of V-COCO"
    )


def _files(there: list[Path], pattern: str) -> Files:
    named = {match[1]: file for file in there if (match := re.fullmatch(pattern, file.name)) and match[1] in _PARTS}
    if "train" in named and "val" in named:
        named.pop("trainval", None)  # the same pictures once more
    elif "trainval" in named:
        named = {name: file for name, file in named.items() if name not in ("train", "val")}
    return {_PARTS[name]: (name, file) for name, file in named.items()}


prepare = source_command(
    vcoco_reader,
    "V-COCO: vcoco_*.json with COCO's instances of 2014, or instances_vcoco_*.json, or trainval_vcoco.json.",
)

if __name__ == "__main__":
    run_alone(prepare)
