"""Collecting the records of a source into a prepared data set, with an account of everything that is left out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mas_triplets.data.boxes import Box, enclosing_box
from mas_triplets.data.card import card
from mas_triplets.data.format import ORDERS, PARTS, REASONS, SCHEMA, TABLES
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import (
    put_in_place,
    read_json,
    scratch_folder,
    sha256_of_file,
    to_json,
    write_json,
    write_text,
)


@dataclass
class _Image:
    file_name: str
    width: int | None
    height: int | None
    part: str | None
    source_id: str | None
    licence: str | None
    url: str | None
    sha256: str | None


@dataclass
class DatasetBuilder:
    """Takes images, instances and rejects in any order; `write` sorts them, so that equal input gives equal bytes.

    Args:
        name: what the data set is called.
        about: licence, citation and the like, as dataset.json and the card show them.
        options: the options of the preparation, plain values.
    """

    name: str
    about: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _images: dict[str, _Image] = field(default_factory=dict)
    _instances: dict[tuple[str, Fact, Box | None, Box | None], str] = field(default_factory=dict)
    _wordings: dict[Fact, set[str]] = field(default_factory=dict)
    _rejected: list[dict[str, str]] = field(default_factory=list)

    def add_source(self, path: Path) -> None:
        """Note a source file with its size in bytes and its SHA-256."""
        self.sources.append({"path": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)})

    def add_image(
        self,
        image_id: str,
        file_name: str,
        size: tuple[int, int] | None,
        part: str | None,
        *,
        source_id: str | None = None,
        licence: str | None = None,
        url: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Add a picture: its file, its (width, height) in pixels, its part or None where that is not given."""
        width, height = size or (None, None)
        self._images[image_id] = _Image(file_name, width, height, part, source_id, licence, url, sha256)

    def add_instance(
        self,
        image_id: str,
        fact: Fact,
        source: str,
        *,
        subject_box: Box | None = None,
        object_box: Box | None = None,
        wording: Sequence[str | None] | None = None,
    ) -> bool:
        """Add a labelled fact of an added picture; a repetition is rejected and gives False.

        `source` says file and record ("facts.csv#12"); `wording` is the original text of the slots.
        """
        key = (image_id, fact, subject_box, object_box)
        if key in self._instances:
            self.reject(source, "duplicate", f"{fact} is already there for {image_id} ({self._instances[key]})")
            return False
        self._instances[key] = source
        words = wording or fact.slots
        self._wordings.setdefault(fact, set()).add("<" + ", ".join(word for word in words if word) + ">")
        return True

    def reject(self, source: str, reason: str, detail: str) -> None:
        """Note a record that is left out; `reason` is one of `REASONS`."""
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not one of the reasons of the format")
        record = {"source": source, "reason": reason, "detail": detail}
        self._rejected.append({key: text.encode("utf-8", "backslashreplace").decode() for key, text in record.items()})

    @property
    def rejected(self) -> Counter[str]:
        """How many records were left out, by reason."""
        return Counter(record["reason"] for record in self._rejected)

    def part_of(self, image_id: str) -> str | None:
        """The part of an added picture; None where it is not known yet. KeyError if it was not added."""
        return self._images[image_id].part

    def has_image(self, image_id: str) -> bool:
        """Whether a picture of this name was added."""
        return image_id in self._images

    def has_part(self, part: str) -> bool:
        """Whether any picture is in `part`."""
        return any(image.part == part for image in self._images.values())

    def set_part(self, image_id: str, part: str) -> None:
        """Put an added picture into `part`. KeyError if it was not added."""
        self._images[image_id].part = part

    def leave_out_rare(self, least: int) -> None:
        """Reject the instances of facts that fewer than `least` pictures show."""
        shown = Counter(fact for _, fact in {(image_id, fact) for image_id, fact, _, _ in self._instances})
        rare = {fact for fact, number in shown.items() if number < least}
        if rare:
            for key in [key for key in self._instances if key[1] in rare]:
                self.reject(self._instances.pop(key), "rare fact", f"{key[1]} is in {shown[key[1]]} pictures")
            self._wordings = {fact: words for fact, words in self._wordings.items() if fact not in rare}

    def files_in_use(self) -> set[str]:
        """Names of the files of all pictures that have a fact, as they were added."""
        return {self._images[image_id].file_name for image_id, _, _, _ in self._instances}

    def carve(self, part: str, share: float, seed: int, *, out_of: str | None) -> int:
        """Move a random `share` of the pictures whose part is `out_of` (None: not given) into `part`.

        A fact keeps at least one of its pictures where it was: a picture that is the last one of a fact stays. Drawn
        from the sorted names, so that the order of records does not matter. Returns how many were moved.
        """
        facts: dict[str, set[Fact]] = {}
        for image_id, fact, _, _ in self._instances:
            if self._images[image_id].part == out_of:
                facts.setdefault(image_id, set()).add(fact)
        left = Counter(fact for held in facts.values() for fact in held)
        names = sorted(facts)
        wanted = round(share * len(names))
        moved = 0
        for index in np.random.default_rng([seed, PARTS.index(part)]).permutation(len(names)).tolist():
            held = facts[names[index]]
            if moved < wanted and all(left[fact] > 1 for fact in held):
                left.subtract(held)
                self._images[names[index]].part = part
                moved += 1
        return moved

    def assign(self, part: str) -> None:
        """Put every picture whose part is not given into `part`."""
        for image in self._images.values():
            image.part = image.part or part

    def write(self, out: Path, *, fill: Callable[[Path], None] | None = None, overwrite: bool = False) -> Path:
        """Write the data set to the folder `out`, whole or not at all, and return the folder.

        `fill` writes the pictures that belong into the folder, if any. The same data set that is already there, whole,
        is left as it is, with its splits and caches; where a file of it is damaged or absent, it is written again and
        its splits are kept.

        Raises:
            UserError: no picture is labelled, or `out` holds something else and `overwrite` is false.
        """
        if not self._instances:
            raise UserError(self._nothing_valid())
        _check_is_ours(out)
        with scratch_folder(out) as folder:
            tables = self._tables()
            for name, table in tables.items():
                pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
            with (folder / "rejected.jsonl").open("w", encoding="utf-8", newline="\n") as handle:
                for record in sorted(self._rejected, key=lambda r: (r["source"], r["reason"], r["detail"])):
                    handle.write(to_json(record, indent=None) + "\n")
            description = self._description(tables, folder)
            write_json(folder / "dataset.json", description)
            write_text(folder / "README.md", card(description, tables["facts"]))
            if out.exists():
                same = _described(out, overwrite) == _described(folder)
                if same and _is_whole(out, description, tables["images"] if fill is not None else None):
                    return out
                if same and (out / "splits").is_dir():
                    shutil.copytree(out / "splits", folder / "splits")
                if not same and not overwrite:
                    raise UserError(
                        f"{out} already holds another prepared data set: choose another --out, or pass --overwrite to "
                        "replace it together with its splits"
                    )
            if fill is not None:
                fill(folder)
            put_in_place(folder, out)
        return out

    def _nothing_valid(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())
        first = f"; the first: {self._rejected[0]['source']}: {self._rejected[0]['detail']}" if counts else ""
        return f"{self.name} holds no labelled picture ({counts or 'no record at all'}){first}"

    def _tables(self) -> dict[str, pa.Table]:
        facts = sorted(self._wordings, key=lambda fact: fact.sort_key)
        ids = {fact: index for index, fact in enumerate(facts)}
        rows = sorted(
            (image_id, ids[fact], subject_box or (), object_box or (), source)
            for (image_id, fact, subject_box, object_box), source in self._instances.items()
        )
        images = sorted({row[0] for row in rows})  # a picture without any fact teaches nothing and cannot be judged
        parts = {image_id: self._images[image_id].part for image_id in images}
        return {
            "images": _table(
                "images",
                [{"image_id": name, "split": parts[name], **vars(self._images[name])} for name in images],
            ),
            "facts": _table(
                "facts",
                [
                    {
                        "fact_id": index,
                        "order": fact.order,
                        **dict(zip(SLOTS, fact.slots, strict=True)),
                        "wordings": sorted(self._wordings[fact]),
                    }
                    for index, fact in enumerate(facts)
                ],
            ),
            "instances": _table(
                "instances",
                [
                    {
                        "image_id": image_id,
                        "fact_id": fact_id,
                        "split": parts[image_id],
                        "subject_box": subject_box or None,
                        "object_box": object_box or None,
                        "box": enclosing_box(subject_box or None, object_box or None),
                        "source": source,
                    }
                    for image_id, fact_id, subject_box, object_box, source in rows
                ],
            ),
        }

    def _description(self, tables: Mapping[str, pa.Table], folder: Path) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "tool_version": version("mas-triplets"),
            **dict(self.about),
            "source_files": self.sources,
            "options": dict(self.options),
            "boxes": "x1 y1 x2 y2, pixels, 0-based, half-open, picture as stored",
            "counts": _counts(tables),
            "rejected": dict(sorted(self.rejected.items())),
            "notes": self.notes,
            "files": {
                name: sha256_of_file(folder / name)
                for name in ("images.parquet", "facts.parquet", "instances.parquet", "rejected.jsonl")
            },
        }


def _check_is_ours(out: Path) -> None:
    if out.exists() and not (out / "dataset.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a prepared data set: choose another --out, nothing was written")


def _described(folder: Path, overwrite: bool = False) -> Any:
    """What dataset.json of `folder` holds; None where it cannot be read and is to be replaced anyway."""
    try:
        return read_json(folder / "dataset.json", "a prepared data set")
    except UserError:
        if not overwrite:
            raise
        return None


def _is_whole(out: Path, description: Mapping[str, Any], images: pa.Table | None) -> bool:
    """Whether the files of `description` have the bytes it says, and the pictures inside `out` are there."""
    for name, digest in description["files"].items():
        if not (out / name).is_file() or sha256_of_file(out / name) != digest:
            return False
    names = [] if images is None else images["file_name"].to_pylist()
    return all((out / name).is_file() for name in names if not Path(name).is_absolute())


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = TABLES[name]
    return pa.Table.from_pydict({field: [row.get(field) for row in rows] for field in schema.names}, schema=schema)


def _counts(tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    images, facts, instances = (tables[name] for name in ("images", "facts", "instances"))

    def by_part(table: pa.Table) -> dict[str, int]:
        found = Counter(table["split"].to_pylist())
        return {part: found[part] for part in PARTS}

    orders = Counter(facts["order"].to_pylist())
    return {
        "images": by_part(images),
        "instances": by_part(instances),
        "facts": {str(order): orders[order] for order in ORDERS},
    }
