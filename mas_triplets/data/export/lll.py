"""The CSV layout of the lifelong fact learning code (Elhoseiny et al., ACCV 2018): splits/NAME/B{k}_train.csv etc.

B{k}_train.csv, B{k}_test.csv, B{k}_val.csv: image_links (a path below images/), NLP_links (a path below NLP_feat/),
SPO, id (fact_id), w_s, w_p, w_o (1 where the slot is present). B{k}_facts.csv: id, type (S, SP or SPO), S, P, O, empty
where absent. Words are joined by `_`, as that code splits them. A row is a picture and a fact of it.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mas_triplets.data.export.columns import Pictures, box_columns, pictures_of
from mas_triplets.data.export.place import Exported, new_folder
from mas_triplets.data.format import PARTS
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.splits import Split
from mas_triplets.facts import Fact
from mas_triplets.progress import SILENT, Silent

COLUMNS = ("image_links", "NLP_links", "SPO", "id", "w_s", "w_p", "w_o")
FACT_COLUMNS = ("id", "type", "S", "P", "O")
_TYPES = {1: "S", 2: "SP", 3: "SPO"}
_READ_AS_ABSENT = {"nan", "none"}


def export_lll(
    dataset: PreparedDataset, split: Split, out: Path, *, overwrite: bool = False, progress: Silent = SILENT
) -> Exported:
    """Write the tasks of a split as out/splits/NAME.

    Args:
        dataset: the data set.
        split: one of its splits.
        out: the folder above splits/, where that code looks for images/ and NLP_feat/ too; those are left alone.
        overwrite: whether another export of that name is replaced.
        progress: who is told how far it is.

    Raises:
        UserError: out/splits/NAME holds something else.
    """
    pictures = pictures_of(dataset)
    keys = np.unique(dataset.instance_image * len(dataset.facts) + dataset.instance_fact)
    pairs = np.stack(np.divmod(keys, len(dataset.facts)))
    part = dataset.image_part[pairs[0]]
    task_of = np.empty(len(dataset.facts), dtype=np.int64)
    for number, task in enumerate(split.tasks):
        task_of[list(task.fact_ids)] = number
    task_of_pair = task_of[pairs[1]]
    about = {"format": "lll", "dataset": dataset.name, "fingerprint": dataset.fingerprint, "split": split.name}
    rows: list[dict[str, Any]] = []
    folder = out / "splits" / split.name
    with new_folder(folder, about, overwrite=overwrite) as scratch:
        for number, task in enumerate(progress.track(split.tasks, "writing tasks", len(split.tasks))):
            counts = {}
            for code, name in enumerate(PARTS):
                mine = pairs[:, (task_of_pair == number) & (part == code)]
                if name == "val" and not mine.size:
                    continue
                _write(scratch / f"B{number + 1}_{name}.csv", COLUMNS, _label_rows(dataset.facts, pictures.links, mine))
                counts[name] = mine.shape[1]
            facts = [_fact_row(fact_id, dataset.facts[fact_id]) for fact_id in task.fact_ids]
            _write(scratch / f"B{number + 1}_facts.csv", FACT_COLUMNS, facts)
            shown = {name: counts.get(name, 0) for name in PARTS}
            rows.append({"file": f"B{number + 1}", "task": task.name, "facts": len(facts), **shown})
    notes = _notes(dataset, out, pictures, sum(row["val"] for row in rows))
    images = ["--images", str(pictures.folder)] if pictures.there else []
    command = ["mas-triplets", "prepare", "lll", str(folder), *images, "--validation", "0"]
    return Exported(folder, "lll", rows, notes, shlex.join([*command, "--out", f"{dataset.folder}-again"]))


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _label_rows(facts: Sequence[Fact], links: Sequence[str], pairs: IntArray) -> list[tuple[Any, ...]]:
    known = {}
    for fact_id in np.unique(pairs[1]).tolist():
        words = ",".join(word for word in _words(facts[fact_id]) if word)
        known[fact_id] = (f"facts/{fact_id}.txt", f"<{words}>", fact_id, *map(int, facts[fact_id].mask))
    return [(links[image], *known[fact_id]) for image, fact_id in pairs.T.tolist()]


def _fact_row(fact_id: int, fact: Fact) -> tuple[Any, ...]:
    return (fact_id, _TYPES[fact.order], *_words(fact))


def _words(fact: Fact) -> list[str | None]:
    return [slot and slot.replace(" ", "_") for slot in fact.slots]


def _notes(dataset: PreparedDataset, out: Path, pictures: Pictures, validation: int) -> list[str]:
    notes = [
        f"image_links are paths below {pictures.folder}: the lifelong fact learning code looks for it as "
        f"{out / 'images'}, so link or put it there.",
        f"NLP_links are paths below {out / 'NLP_feat'}, a text of 900 numbers for each fact (300 for S, P, O each), "
        "without which that code does not train; they are not written here.",
    ]
    if validation:
        notes.append(
            f"{validation:,} rows of validation pictures are in B*_val.csv, which that code does not read: its layout "
            "has no validation part. `prepare lll` does."
        )
    boxed = np.logical_or(*(column.is_valid().to_numpy(zero_copy_only=False) for column in box_columns(dataset))).sum()
    if boxed:
        notes.append(f"{boxed:,} labels have boxes, for which the layout has no place: they are left out.")
    absent = sum(not _READ_AS_ABSENT.isdisjoint(fact.slots) for fact in dataset.facts)
    if absent:
        notes.append(
            f"{absent:,} facts hold the word nan or none, which readers of the layout take for an absent slot."
        )
    changed = _changed(pictures.links)
    if changed:
        notes.append(
            f"{changed:,} pictures have a path that readers of the layout change or take for another's (an apostrophe, "
            "a backslash, the name of another but for the extension)."
        )
    return notes


def _changed(links: Sequence[str]) -> int:
    stems = [link.rpartition(".")[0] for link in links]
    alike = len(stems) - len(set(stems))
    return alike + sum(any(mark in link for mark in "'\\\r\n") for link in links)
