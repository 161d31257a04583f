"""The prepared data set on disk: names of its files, columns of its tables, and the reasons a record is rejected."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA: Final = "mas_triplets/1"
"""Version of the format, written in dataset.json."""

PARTS: Final = ("train", "val", "test")
"""The parts of a data set; no picture is in two of them. Their position is the code used in arrays."""

ORDERS: Final = (1, 2, 3)

_BOX = pa.list_(pa.float32(), 4)

IMAGES: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source_id", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("url", pa.string()),
    ]
)
"""`file_name` is relative to the data set's folder, or absolute where the pictures stay in their own place."""

FACTS: Final = pa.schema(
    [
        pa.field("fact_id", pa.int32(), nullable=False),
        pa.field("order", pa.int8(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("predicate", pa.string()),
        pa.field("object", pa.string()),
        pa.field("wordings", pa.list_(pa.string())),
    ]
)
"""`fact_id` is the row number; rows are sorted by order and text. `wordings`: the original forms, as "<S, P, O>"."""

INSTANCES: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("fact_id", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("subject_box", _BOX),
        pa.field("object_box", _BOX),
        pa.field("box", _BOX),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""Boxes are [x1, y1, x2, y2] in pixels, 0-based, half-open, of the picture as stored. `box` encloses the fact."""

TABLES: Final = {"images": IMAGES, "facts": FACTS, "instances": INSTANCES}

REASONS: Final = {
    "malformed record": "the record does not have the form of its format",
    "missing image": "the picture's file is not there",
    "unreadable image": "the picture's file cannot be decoded",
    "empty text": "a slot that the fact needs is empty",
    "unknown part": "the split is not one of train, val, test",
    "conflicting part": "the picture is already in another of train, val, test",
    "degenerate box": "the box has no area inside the picture",
    "no box": "the source says that it cannot be seen where the fact holds",
    "size mismatch": "the picture's file has another size than its boxes are for",
    "index out of range": "a number that points into a list points beside it",
    "orphan id": "it belongs to a picture or an object that is not there",
    "self relation": "a thing is related to itself",
    "negative label": "the source says that the fact does not hold",
    "rare fact": "fewer pictures show the fact than were asked for",
    "not asked for": "the fact is not of the kinds that were asked for",
    "duplicate": "the same fact with the same boxes is already there for this picture",
}
"""Why a record is not in the tables; rejected.jsonl uses these words and no others."""
