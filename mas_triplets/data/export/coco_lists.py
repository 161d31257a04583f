"""The lists of a COCO file with relations, from the labels of one part; `coco_rel` says what each holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.facts import SLOTS

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Vocabulary:
    """The three lists of names, and where the slots of each fact stand in them, by fact_id.

    Attributes:
        categories: subjects and objects; the id of one is its position plus one.
        relations: predicates of the facts of order 3; the id of one is its position.
        attributes: predicates of the facts of order 2, likewise.
        order: (facts,) the order of each.
        subject, object: (facts,) category ids; 0 where the slot is absent.
        predicate: (facts,) position in `relations` or `attributes`, as the order says.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        facts = dataset.facts
        self.categories = sorted({slot for fact in facts for slot in (fact.subject, fact.object) if slot is not None})
        self.attributes, self.relations = (
            sorted({str(fact.predicate) for fact in facts if fact.order == order}) for order in (2, 3)
        )
        category = {name: number for number, name in enumerate(self.categories, 1)}
        places = [{}, {}, _places(self.attributes), _places(self.relations)]
        self.order = np.array([fact.order for fact in facts])
        self.subject = np.array([category[str(fact.subject)] for fact in facts])
        self.object = np.array([category.get(str(fact.object), 0) if fact.order == 3 else 0 for fact in facts])
        self.predicate = np.array([places[fact.order].get(str(fact.predicate), 0) for fact in facts])

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """The lists of the file."""
        return {
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.categories, 1)],
            "rel_categories": [{"id": number, "name": name} for number, name in enumerate(self.relations)],
            "att_categories": [{"id": number, "name": name} for number, name in enumerate(self.attributes)],
        }


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


@dataclass(frozen=True)
class Labels:
    """The labels of one part: picture number, fact_id, and (labels, 4) boxes with NaN where there is none."""

    vocabulary: Vocabulary
    image: IntArray
    fact: IntArray
    subject_box: FloatArray
    object_box: FloatArray

    @cached_property
    def order(self) -> IntArray:
        """(labels,) the order of each one's fact."""
        return np.asarray(self.vocabulary.order[self.fact])

    @cached_property
    def whole(self) -> BoolArray:
        """(labels,) whether there is a box for each thing that the fact names, and for nothing else."""
        subject, thing = (~np.isnan(boxes[:, 0]) for boxes in (self.subject_box, self.object_box))
        return np.asarray(subject & (thing == (self.order == 3)))

    @cached_property
    def things(self) -> tuple[IntArray, IntArray, IntArray]:
        """Annotations as sorted rows (image, category, bits of the box), and where each label's two things are there.

        A label whose subject (object) has no box, or no name, has -1 for it.
        """
        keys, present = [], []
        for names, boxes in ((self.vocabulary.subject, self.subject_box), (self.vocabulary.object, self.object_box)):
            category = names[self.fact]
            keys.append(np.column_stack([self.image, category, boxes.view(np.int32)]))
            present.append(~np.isnan(boxes[:, 0]) & (category > 0))
        found, place = np.unique(np.concatenate(keys)[np.concatenate(present)], axis=0, return_inverse=True)
        places = np.full(2 * len(self.fact), -1, dtype=np.int64)
        places[np.concatenate(present)] = place.reshape(-1)
        return found, places[: len(self.fact)], places[len(self.fact) :]

    def lists(self, dataset: PreparedDataset) -> dict[str, Iterator[dict[str, Any]]]:
        """The lists of the file."""
        return {
            "annotations": self._annotations(),
            "rel_annotations": self._relations(),
            "image_facts": self._image_facts(dataset),
        }

    def _annotations(self) -> Iterator[dict[str, Any]]:
        found, subject, _ = self.things
        named = np.zeros(len(found), dtype=bool)
        named[subject[self.whole & (self.order == 1)]] = True
        about = self.whole & (self.order == 2)
        count = max(1, len(self.vocabulary.attributes))
        thing, attribute = np.divmod(
            np.unique(subject[about] * count + self.vocabulary.predicate[self.fact[about]]), count
        )
        ends = np.searchsorted(thing, np.arange(len(found) + 1))
        boxes = _xywh(np.ascontiguousarray(found[:, 2:].astype(np.int32)).view(np.float32))
        for row, (image, category) in enumerate(found[:, :2].tolist()):
            box = boxes[row].tolist()
            yield {
                "id": row + 1,
                "image_id": image + 1,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "attributes": attribute[ends[row] : ends[row + 1]].tolist(),
                "is_fact": bool(named[row]),
            }

    def _relations(self) -> Iterator[dict[str, Any]]:
        _, subject, thing = self.things
        mine = np.flatnonzero(self.whole & (self.order == 3))
        columns = [subject[mine] + 1, self.vocabulary.predicate[self.fact[mine]], thing[mine] + 1, self.image[mine] + 1]
        for number, row in enumerate(np.stack(columns, axis=1), 1):
            keys = ("id", "subject_id", "predicate_id", "object_id", "image_id")
            yield dict(zip(keys, (number, *row.tolist()), strict=True))

    def _image_facts(self, dataset: PreparedDataset) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(np.flatnonzero(~self.whole).tolist(), 1):
            boxes = {
                f"{slot}_bbox": None if np.isnan(box[row, 0]) else _xywh(box[row : row + 1])[0].tolist()
                for slot, box in (("subject", self.subject_box), ("object", self.object_box))
            }
            words = dict(zip(SLOTS, dataset.facts[self.fact[row]].slots, strict=True))
            yield {"id": number, "image_id": int(self.image[row]) + 1, **words, **boxes}


def _xywh(boxes: FloatArray) -> npt.NDArray[np.float64]:
    """(boxes, 4) x1 y1 x2 y2 -> x, y, width, height; x + width rounds to the very x2 that it came from."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
