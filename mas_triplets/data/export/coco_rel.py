"""COCO with relations: one JSON file a part, which pycocotools reads, with the keys of SGG-Benchmark's relation data.

- images: id, file_name (below the pictures' folder), width, height (null where not known), license, name (our
  image_id), coco_url where it is known.
- categories: id (from 1: 0 is the background of detectors), name; all subjects and objects.
- annotations: id (from 1), image_id, category_id, bbox [x, y, w, h], area, iscrowd 0; attributes: att_categories ids,
  the predicates of the facts <subject, predicate> about this box; is_fact: whether <subject> alone is a fact of this
  box, or it only takes part in others. A box of a name is one annotation, in however many facts.
- rel_categories: id (from 0: its position, which that code adds one to), name; the predicates of <subject, predicate,
  object>.
- rel_annotations: id, subject_id, object_id (annotations), predicate_id (rel_categories), image_id.
- att_categories: id (from 0), name; the predicates of <subject, predicate>.
- image_facts: the facts that the above cannot hold because a box is missing, mostly facts of the whole picture: id,
  image_id, subject, predicate, object (words, null where absent), subject_bbox, object_bbox (null where there is none).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mas_triplets.data.export.coco_lists import Labels, Vocabulary
from mas_triplets.data.export.columns import Pictures, box_columns, box_numbers, pictures_of
from mas_triplets.data.export.place import Exported, new_folder
from mas_triplets.data.format import PARTS
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.progress import SILENT, Silent

SCHEMA = (
    "COCO; rel_annotations: subject_id and object_id are annotations, predicate_id is in rel_categories; attributes of "
    "an annotation are in att_categories; is_fact: its category alone is a fact; image_facts: facts with a box missing"
)


def export_coco_rel(
    dataset: PreparedDataset, out: Path, *, overwrite: bool = False, progress: Silent = SILENT
) -> Exported:
    """Write one JSON file for each part that has pictures: out/train.json, out/val.json, out/test.json.

    Args:
        dataset: the data set.
        out: the folder to write.
        overwrite: whether another export there is replaced.
        progress: who is told how far it is.

    Raises:
        UserError: `out` holds something else.
    """
    vocabulary, pictures = Vocabulary(dataset), pictures_of(dataset)
    boxes = [box_numbers(column) for column in box_columns(dataset)]
    part_of_label = dataset.image_part[dataset.instance_image]
    codes = np.unique(dataset.image_part).tolist()
    about = {"format": "coco-rel", "dataset": dataset.name, "fingerprint": dataset.fingerprint}
    rows: list[dict[str, Any]] = []
    with new_folder(out, about, overwrite=overwrite) as scratch:
        for code in progress.track(codes, "writing parts", len(codes)):
            mine = np.flatnonzero(part_of_label == code)
            labels = Labels(
                vocabulary, dataset.instance_image[mine], dataset.instance_fact[mine], boxes[0][mine], boxes[1][mine]
            )
            head = {"info": _info(dataset, PARTS[code]), **_licences(dataset), **vocabulary.lists()}
            images = np.flatnonzero(dataset.image_part == code)
            lists = {"images": _images(dataset, pictures, images), **labels.lists(dataset)}
            counts = _write(scratch / f"{PARTS[code]}.json", head, lists)
            rows.append({"file": f"{PARTS[code]}.json", **counts})
    notes = [f"file_name is a path below {pictures.folder}."]
    facts = sum(row["image_facts"] for row in rows)
    if facts:
        notes.append(f"{facts:,} labels lack a box that their fact needs: they are in image_facts, not in annotations.")
    unknown = dataset.images["width"].null_count
    if unknown:
        notes.append(f"{unknown:,} pictures have no width and height, since they were not there to be measured.")
    return Exported(out, "coco-rel", rows, notes)


def _images(dataset: PreparedDataset, pictures: Pictures, images: IntArray) -> Iterator[dict[str, Any]]:
    licence = {entry["name"]: entry["id"] for entry in _licences(dataset)["licenses"]}
    table = dataset.images.select(["image_id", "width", "height", "licence", "url"])
    for number, row in zip(images.tolist(), table.take(images).to_pylist(), strict=True):
        image = {
            "id": number + 1,
            "file_name": pictures.links[number],
            "width": row["width"],
            "height": row["height"],
            "license": licence.get(row["licence"], 1),
            "name": row["image_id"],
        }
        yield image if row["url"] is None else {**image, "coco_url": row["url"]}


def _licences(dataset: PreparedDataset) -> dict[str, list[dict[str, Any]]]:
    """The licence of the data set first, then those of single pictures."""
    first = str(dataset.description.get("licence", "not stated by the source"))
    others = sorted(set(dataset.images["licence"].drop_null().to_pylist()) - {first})
    return {"licenses": [{"id": number, "name": name, "url": ""} for number, name in enumerate([first, *others], 1)]}


def _info(dataset: PreparedDataset, part: str) -> dict[str, Any]:
    about = {"description": f"{dataset.name}, part {part}", "version": dataset.fingerprint[:12], "schema": SCHEMA}
    return {**about, "citation": str(dataset.description.get("citation", "none given"))}


def _write(path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[dict[str, Any]]]) -> dict[str, int]:
    """Write a JSON object, one record of the long `lists` a line, and return how long they are."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    counts = {}
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write("{" + ",\n".join(f"{encode(key)}: {encode(value)}" for key, value in head.items()))
        for key, records in lists.items():
            handle.write(f",\n{encode(key)}: [")
            counts[key] = 0
            for record in records:
                handle.write((",\n" if counts[key] else "\n") + encode(record))
                counts[key] += 1
            handle.write("]")
        handle.write("}\n")
    return counts
