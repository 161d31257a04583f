"""The way out of a prepared data set: its labels in the forms that other programs read."""

from __future__ import annotations

from pathlib import Path

from mas_triplets.data.export.coco_rel import export_coco_rel
from mas_triplets.data.export.lll import export_lll
from mas_triplets.data.export.place import Exported
from mas_triplets.data.export.table import export_table
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import read_split
from mas_triplets.errors import UserError, unknown
from mas_triplets.progress import SILENT, Silent

FORMATS = ("coco-rel", "lll", "table")
"""table: a list that `prepare table` reads back; lll: CSV of lifelong fact learning; coco-rel: COCO with relations."""


def export(
    dataset: PreparedDataset,
    form: str,
    out: Path,
    *,
    split: str | None = None,
    overwrite: bool = False,
    progress: Silent = SILENT,
) -> Exported:
    """Write a data set in another form.

    Args:
        dataset: the data set; it stays as it is.
        form: one of `FORMATS`.
        out: the file (table) or folder (the others) to write.
        split: for lll, the split whose tasks are written.
        overwrite: whether another export at `out` is replaced.
        progress: who is told how far it is.

    Raises:
        UserError: the form or the split is unknown or does not fit, or `out` holds something else.
    """
    if form not in FORMATS:
        raise unknown("value of --format", form, FORMATS)
    if form == "lll":
        if split is None:
            raise UserError(_splits_there(dataset))
        return export_lll(dataset, read_split(dataset, split), out, overwrite=overwrite, progress=progress)
    if split is not None:
        raise UserError(f"--split goes with --format lll: {form} holds no tasks, leave --split out")
    write = export_table if form == "table" else export_coco_rel
    return write(dataset, out, overwrite=overwrite, progress=progress)


def _splits_there(dataset: PreparedDataset) -> str:
    there = sorted(path.stem for path in (dataset.folder / "splits").glob("*.json"))
    if there:
        return f"--format lll writes the tasks of a split: pass --split NAME, one of {', '.join(there)}"
    return (
        f"--format lll writes the tasks of a split, and {dataset.folder} has none yet: make one with "
        f"`mas-triplets split {dataset.folder} --method random --tasks 4 --name random4`"
    )
