"""From labels to the instances of a data set: their words, their boxes, and whether their picture is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

from data_prep.identity import LARGEST, Used
from data_prep.records import Label, Picture, Rejected
from mas_triplets.data.boxes import Box, clip_box
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact, is_unicode

_SINGLE = Struct("4f")


def add_labels(
    builder: DatasetBuilder,
    labels: Iterable[Label | Rejected],
    pictures: Mapping[str, Picture],
    used: Used,
    sizes: Mapping[str, tuple[int, int] | None],
    orders: tuple[int, ...],
) -> Counter[str | None]:
    """Add or reject every label.

    Args:
        builder: takes them.
        labels: of a source.
        pictures: all of the source, by name.
        used: what became of each.
        sizes: of those that are used.
        orders: which facts are wanted.

    Returns:
        How many relations there are a part, kept or not.
    """
    shown = {image_id: image_id for image_id in sizes} | used.same_as
    relations: Counter[str | None] = Counter()
    for label in labels:
        if isinstance(label, Rejected):
            builder.reject(label.source, label.reason, label.detail)
            continue
        if label.words[2] is not None and label.image_id in pictures:
            relations[pictures[label.image_id].part] += 1
        if label.image_id in shown:
            _add(builder, label, shown[label.image_id], sizes, used.scale.get(label.image_id), orders)
        else:
            reason, detail = used.refused.get(label.image_id, ("orphan id", f"no picture {label.image_id} is known"))
            if label.image_id not in pictures or label.source != pictures[label.image_id].source:  # else told above
                builder.reject(label.source, reason, detail)
    return relations


def _add(
    builder: DatasetBuilder,
    label: Label,
    image_id: str,
    sizes: Mapping[str, tuple[int, int] | None],
    scale: tuple[float, float] | None,
    orders: tuple[int, ...],
) -> None:
    """Add a label to the picture `image_id`, or reject it."""
    fact = _fact(label.words)
    if not isinstance(fact, Fact):
        builder.reject(label.source, *fact)
        return
    if fact.order not in orders:
        builder.reject(label.source, "not asked for", f"{fact} has order {fact.order}")
        return
    boxes: list[Box | None] = []
    for which, box in (("subject", label.subject_box), ("object", label.object_box)):
        if box is not None and scale is not None:
            box = (box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1])
        clipped = None if box is None else _clipped(box, sizes[image_id])
        if box is not None and clipped is None:
            size = sizes[image_id]
            where = f" inside the picture of {size[0]} x {size[1]}" if size else ""
            detail = f"the box of the {which}, {' '.join(f'{side:.7g}' for side in box)}, has no area{where}"
            builder.reject(label.source, "degenerate box", detail)
            return
        boxes.append(clipped)
    if fact.order == 3 and fact.subject == fact.object and boxes[0] is not None and boxes[0] == boxes[1]:
        builder.reject(label.source, "self relation", f"{fact} relates a thing to itself")
        return
    builder.add_instance(image_id, fact, label.source, subject_box=boxes[0], object_box=boxes[1], wording=label.words)


@lru_cache(maxsize=1 << 16)
def _fact(words: tuple[str, str | None, str | None]) -> Fact | tuple[str, str]:
    """Return the fact of these words, or why there is none; the same words come again and again."""
    given = [word for word in words if word is not None]
    if not all(map(is_unicode, given)):
        return "malformed record", "a slot is not valid Unicode text"
    try:
        fact = Fact(*words)
    except UserError as error:
        return "empty text", str(error)
    if fact.order != len(given) or not fact.is_labelled_form:
        return "empty text", f"a slot of {words} is empty"
    return fact


def _clipped(box: Box, size: tuple[int, int] | None) -> Box | None:
    """Clip to the picture, or, where its size is not known, at zero; round as the tables do; None without an area."""
    clipped = clip_box(box, *(size or (LARGEST, LARGEST)))
    if clipped is None:
        return None
    x1, y1, x2, y2 = _SINGLE.unpack(_SINGLE.pack(*clipped))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None
