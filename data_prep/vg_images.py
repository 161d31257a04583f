"""The pictures of Visual Genome: the records of image_data.json, which all of its labels are about."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from data_prep.json_files import MalformedError, field
from data_prep.records import Picture, Rejected
from mas_triplets.facts import is_unicode

WHAT = "a file of Visual Genome, a list of pictures"


def image_number(record: Any) -> str:
    """Return the picture's number as text; old files call it `id`.

    Raises:
        MalformedError: the record is no object or has no number.
    """
    return str(field(record, "image_id" if isinstance(record, dict) and "image_id" in record else "id", int))


def picture_of(record: Any, source: str, part: str | None = None) -> Picture | Rejected:
    """Return the picture of a record of image_data.json; its file is the last two parts of its address.

    Args:
        record: one entry of the list.
        source: file and place of the record.
        part: train, val or test; None where it is to be drawn.
    """
    try:
        image = image_number(record)
        size = field(record, "width", int), field(record, "height", int)
        if min(size) < 1:
            raise MalformedError(f"the size is {size[0]} x {size[1]}")
        origin = next(
            (f"{key}:{value}" for key in ("coco", "flickr") if type(value := record.get(f"{key}_id")) is int),
            f"vg:{image}",
        )
        url = record.get("url")
        parts = PurePosixPath(urlsplit(url).path).parts if isinstance(url, str) and is_unicode(url) else ()
    except (MalformedError, ValueError) as error:
        return Rejected(source, "malformed record", str(error))
    file = "/".join(parts[-2:]) if len(parts) > 1 else f"{image}.jpg"
    return Picture(image, file, part, source, size, origin, url=url if parts else None)
