"""The labels of a prepared data set as columns: what every form is written from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mas_triplets.data.format import INSTANCES
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS

BOXES = ("subject_box", "object_box")
BATCH = 1 << 16
"""Labels turned into text at a time."""


def slot_columns(dataset: PreparedDataset) -> list[pa.Array]:
    """Return the text of each slot, by fact_id; null where it is absent."""
    return [pa.array([fact.slots[slot] for fact in dataset.facts], pa.string()) for slot in range(len(SLOTS))]


def box_columns(dataset: PreparedDataset) -> list[pa.FixedSizeListArray]:
    """Return the subject's and the object's box of each label; null where there is none."""
    path = dataset.folder / "instances.parquet"
    names, kind = pq.read_schema(path).names, INSTANCES.field(BOXES[0]).type
    table = pq.read_table(path, columns=[name for name in BOXES if name in names])
    nothing = pa.chunked_array([pa.nulls(len(dataset.instance_fact), kind)])
    columns = [table[name].cast(kind) if name in table.column_names else nothing for name in BOXES]
    return [pa.concat_arrays(column.chunks) for column in columns]


def box_numbers(boxes: pa.FixedSizeListArray) -> npt.NDArray[np.float32]:
    """Return boxes as (labels, 4) numbers, NaN where there is none."""
    numbers = np.full((len(boxes), 4), np.nan, dtype=np.float32)
    numbers[boxes.is_valid().to_numpy(zero_copy_only=False)] = boxes.flatten().to_numpy().reshape(-1, 4)
    return numbers


def box_text(boxes: pa.FixedSizeListArray) -> pa.Array:
    """Return each box as "x1 y1 x2 y2", null where there is none, in the fewest digits that give the same numbers."""
    valid = boxes.is_valid()
    digits = boxes.flatten().cast(pa.string())
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(range(0, len(digits) + 1, 4), pa.int32()), digits), " ")
    place = np.cumsum(valid.to_numpy(zero_copy_only=False)) - 1
    return joined.take(pc.if_else(valid, pa.array(place, pa.int64()), None))


@dataclass(frozen=True)
class Pictures:
    """The pictures' files.

    Attributes:
        folder: an absolute path that all of them lie below.
        links: the path of each from there, with `/`, in the order of the table of images.
        there: whether the data set was prepared with its pictures.
    """

    folder: Path
    links: list[str]
    there: bool


def pictures_of(dataset: PreparedDataset) -> Pictures:
    """Find the folder from which the pictures are named as the data set names them, else the one that holds all."""
    paths = [os.path.abspath(path) for path in dataset.paths]  # noqa: PTH100 - links are not followed
    ids = dataset.images["image_id"].to_pylist()
    folders = set(map(_folder_of_ids, paths, ids))
    folder = folders.pop() if len(folders) == 1 else None
    if folder is None:
        folder = os.path.commonpath(list(map(os.path.dirname, paths)))
    try:
        dataset.check_has_pictures()
        there = True
    except UserError:
        there = False
    relative = map(partial(os.path.relpath, start=folder), paths)
    return Pictures(Path(folder), [Path(link).as_posix() for link in relative], there)


def _folder_of_ids(path: str, image_id: str) -> str | None:
    """The folder from which `path`, with its extension or without, is called `image_id`; None if there is none."""
    for whole in (path, os.path.splitext(path)[0]):  # noqa: PTH122 - hundreds of thousands of paths
        if whole.endswith(os.sep + image_id):
            return whole.removesuffix(image_id)
    return None
