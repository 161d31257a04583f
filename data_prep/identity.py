"""Which pictures of a source are used: names that come twice, files that cannot be read, one picture in two parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from data_prep.pictures import Found
from data_prep.records import Picture, Rejected
from mas_triplets.data.format import PARTS
from mas_triplets.facts import is_unicode

LARGEST = 1 << 31  # pixels along a side: the tables hold 32 bits
SLACK = 2, 0.02  # pixels, and share of a side, by which sizes differ where programs cut off or round


def collect(records: Iterable[Picture | Rejected]) -> tuple[dict[str, Picture], list[Rejected]]:
    """Return the pictures by name, each once, and the records that give none.

    Of a name that comes twice, the record in the part where models are judged stays: test before val before train.
    """
    pictures: dict[str, Picture] = {}
    rejected: list[Rejected] = []
    for picture in records:
        if isinstance(picture, Rejected):
            rejected.append(picture)
        elif problem := _problem(picture):
            rejected.append(Rejected(picture.source, *problem))
        elif picture.image_id in pictures:
            both = sorted((pictures[picture.image_id], picture), key=lambda one: (_rank(one), one.file))
            pictures[picture.image_id] = both[0]
            reason = "duplicate" if both[0].part == both[1].part else "conflicting part"
            detail = f"{picture.image_id} is in {both[0].part} already, with its facts"
            rejected.append(Rejected(both[1].source, reason, detail))
        else:
            pictures[picture.image_id] = picture
    return pictures, rejected


@dataclass
class Used:
    """What becomes of each picture.

    Attributes:
        refused: reason and detail of those that cannot be used; their labels are left out too.
        same_as: name of a picture -> of the one it is the same as, which gets its labels.
        scale: of pictures that are larger or smaller than the source says, in both directions alike: by how much in
            width and height. Their boxes are scaled.
    """

    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)
    scale: dict[str, tuple[float, float]] = field(default_factory=dict)


def decide(pictures: Mapping[str, Picture], found: Mapping[str, Found], *, relative: bool = False) -> Used:
    """Return what becomes of each picture, given what was seen in its file.

    Args:
        pictures: by name.
        found: what was seen of each.
        relative: whether boxes are for the file whatever its size; else they are for the size the source says.

    Two that are the same picture, by their origin or by their bytes, are one in the end, whatever they are called: so
    no picture is in two parts, not even when a part is drawn from another later. In one part they share their labels;
    in two parts the one where models are judged stays, and the labels of the other are left out.
    """
    used = Used()
    kept: dict[str, str] = {}
    group = _groups({name: (picture.origin, found[name].sha256) for name, picture in pictures.items()})
    for image_id in sorted(pictures, key=lambda key: (_rank(pictures[key]), key)):
        picture, seen = pictures[image_id], found[image_id]
        if seen.problem is not None:
            used.refused[image_id] = seen.problem
            continue
        scale = _scale(picture.size, seen.size, relative) if picture.size and seen.size else (1.0, 1.0)
        if scale is None:
            shown = " x ".join(map(str, seen.size or ())), " x ".join(map(str, picture.size or ()))
            used.refused[image_id] = ("size mismatch", f"the file is {shown[0]}, its boxes are for one of {shown[1]}")
            continue
        if scale != (1.0, 1.0):
            used.scale[image_id] = scale
        other = kept.setdefault(group[image_id], image_id)
        if other == image_id:
            continue
        if picture.part not in (None, pictures[other].part):
            detail = f"the same picture is {other} in {pictures[other].part}, where it is kept"
            used.refused[image_id] = ("conflicting part", detail)
        elif (seen.size or picture.size) != (found[other].size or pictures[other].size):
            used.refused[image_id] = ("duplicate", f"the same picture is {other}, in another size")
        else:
            used.same_as[image_id] = other
    return used


def _scale(told: tuple[int, int], seen: tuple[int, int], relative: bool) -> tuple[float, float] | None:
    """Return by how much boxes are scaled in width and height; None where the file is another picture, or turned."""
    if all(abs(one - other) <= min(SLACK[0], SLACK[1] * one) for one, other in zip(told, seen, strict=True)):
        return (1.0, 1.0)
    if told == seen[::-1]:
        return None
    wide, high = seen[0] / told[0], seen[1] / told[1]
    if relative:
        return (1.0, 1.0)
    # a side is rounded to a whole pixel when a picture is resized
    return (wide, high) if abs(wide - high) * min(told) <= 1 + wide else None


def _groups(keys: Mapping[str, tuple[str | None, ...]]) -> dict[str, str]:
    """Return a name for the group of each picture: those that share a key, directly or over others, are in one."""
    leader = {name: name for name in keys}

    def last(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    holder: dict[str, str] = {}
    for name, its_keys in keys.items():
        for key in filter(None, its_keys):
            leader[last(name)] = last(holder.setdefault(key, name))
    return {name: last(name) for name in keys}


def _problem(picture: Picture) -> tuple[str, str] | None:
    if not all(map(is_unicode, filter(None, (picture.image_id, picture.file, picture.origin, picture.url)))):
        return "malformed record", "its name or address is not valid Unicode text"
    if picture.size is not None and not all(0 < side < LARGEST for side in picture.size):
        return "malformed record", f"its width and height are not from 1 to {LARGEST - 1:,}"
    if picture.part is not None and picture.part not in PARTS:
        return "unknown part", f"{picture.part!r} is not one of {', '.join(PARTS)}"
    return None


def _rank(picture: Picture) -> int:
    """Where a picture is kept: rather where models are judged than where they learn, last where nothing is said."""
    return len(PARTS) - PARTS.index(picture.part) if picture.part else len(PARTS) + 1
