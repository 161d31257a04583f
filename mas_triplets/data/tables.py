"""Writing the three tables of a prepared data set, a million rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mas_triplets.data.collected import CollectedFacts, CollectedImages
from mas_triplets.data.format import FACTS, IMAGES, INSTANCES, ORDERS, PARTS
from mas_triplets.data.instance_columns import Instances, Numbers, enclosing_boxes, stored_boxes
from mas_triplets.facts import SLOTS

_ROWS = 1 << 20


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        images: the table of pictures.
        facts: the table of facts.
        counts: number of images and instances by part, and of facts by order.
    """

    images: pa.Table
    facts: pa.Table
    counts: dict[str, dict[str, int]]


def write_tables(folder: Path, images: CollectedImages, facts: CollectedFacts, instances: Instances) -> Written:
    """Write images.parquet, facts.parquet and instances.parquet into `folder`.

    Args:
        folder: where; it is there.
        images: pictures, each with a part. Those without an instance teach nothing and cannot be judged: left out.
        facts: those without an instance are left out.
        instances: distinct, sorted by picture and fact.
    """
    used = _in_order(instances.image, images.ranks())
    part_of_row = np.zeros(len(images.names), dtype=np.int8)
    part_of_row[used] = [PARTS.index(str(images.found[images.names[number]].part)) for number in used]
    facts_used = _in_order(instances.fact, facts.ranks())
    fact_id = np.zeros(len(facts.facts), dtype=np.int32)
    fact_id[facts_used] = np.arange(len(facts_used))
    pictures, table = _images(images, used), _facts(facts, facts_used)
    pq.write_table(pictures, folder / "images.parquet", compression="zstd")
    pq.write_table(table, folder / "facts.parquet", compression="zstd")
    with pq.ParquetWriter(folder / "instances.parquet", INSTANCES, compression="zstd") as writer:
        for start in range(0, len(instances), _ROWS):
            rows = instances.take(np.arange(start, min(start + _ROWS, len(instances))))
            writer.write_table(_instances(rows, images.names, part_of_row, fact_id))
    orders = np.bincount([facts.facts[number].order for number in facts_used], minlength=len(ORDERS) + 1)
    return Written(
        pictures,
        table,
        {
            "images": _by_part(part_of_row[used]),
            "instances": _by_part(part_of_row[instances.image]),
            "facts": {str(order): int(orders[order]) for order in ORDERS},
        },
    )


def _in_order(numbers: Numbers, ranks: Numbers) -> Numbers:
    """Return the distinct numbers by their rank."""
    used = np.unique(numbers)
    return used[np.argsort(ranks[used])]


def _images(images: CollectedImages, used: Numbers) -> pa.Table:
    names = [images.names[number] for number in used]
    found = [images.found[name] for name in names]
    columns = {"image_id": names, "split": [image.part for image in found]}
    for name in IMAGES.names:
        if name not in columns:
            columns[name] = [getattr(image, name) for image in found]
    return pa.Table.from_pydict({name: columns[name] for name in IMAGES.names}, schema=IMAGES)


def _facts(facts: CollectedFacts, used: Numbers) -> pa.Table:
    found = [facts.facts[number] for number in used]
    columns = {
        "fact_id": np.arange(len(found), dtype=np.int32),
        "order": [fact.order for fact in found],
        **{slot: [fact.slots[place] for fact in found] for place, slot in enumerate(SLOTS)},
        "wordings": [facts.wordings(number) for number in used.tolist()],
    }
    return pa.Table.from_pydict(columns, schema=FACTS)


def _instances(rows: Instances, names: list[str], part_of_row: Numbers, fact_id: Numbers) -> pa.Table:
    near = slice(int(rows.image.min()), int(rows.image.max()) + 1)  # of many names, those that can occur
    columns = {
        "image_id": pa.array(names[near], type=pa.string()).take(pa.array(rows.image - near.start)),
        "fact_id": fact_id[rows.fact],
        "split": pa.array(PARTS, type=pa.string()).take(pa.array(part_of_row[rows.image])),
        "subject_box": stored_boxes(rows.boxes[:, :4]),
        "object_box": stored_boxes(rows.boxes[:, 4:]),
        "box": stored_boxes(enclosing_boxes(rows.boxes)),
        "source": rows.source,
    }
    return pa.Table.from_pydict(columns, schema=INSTANCES)


def _by_part(parts: Numbers) -> dict[str, int]:
    counts = np.bincount(parts, minlength=len(PARTS)).tolist()
    return dict(zip(PARTS, counts, strict=True))
