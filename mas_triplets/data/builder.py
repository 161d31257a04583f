"""Collecting the records of a source into a prepared data set, with an account of everything that is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mas_triplets.data.boxes import Box
from mas_triplets.data.card import card
from mas_triplets.data.collected import CollectedFacts, CollectedImage, CollectedImages
from mas_triplets.data.format import PARTS, SCHEMA, TABLES
from mas_triplets.data.instance_columns import InstanceColumns, Instances, distinct_pairs, joined
from mas_triplets.data.rejects import Rejects
from mas_triplets.data.tables import Written, write_tables
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.files import (
    put_in_place,
    read_json,
    scratch_folder,
    sha256_of_file,
    storable,
    write_json,
    write_text,
)


@dataclass
class DatasetBuilder:
    """Takes images, instances and rejects in any order; `write` sorts them, so that equal input gives equal bytes.

    Args:
        name: what the data set is called.
        about: licence, citation and the like, as dataset.json and the card show them.
        options: the options of the preparation, plain values.
        sources: name, size and SHA-256 of each source file.
        notes: sentences for the card.
        source_counts: "pictures" and, where their number is published, "relations" of the source by part, whether kept
            or not: "read" and, if known, "published".
    """

    name: str
    about: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source_counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    _images: CollectedImages = field(default_factory=CollectedImages)
    _facts: CollectedFacts = field(default_factory=CollectedFacts)
    _rejects: Rejects = field(default_factory=Rejects)
    _added: InstanceColumns = field(default_factory=InstanceColumns)
    _sorted: Instances | None = None

    def add_source(self, path: Path) -> None:
        """Note a source file with its size in bytes and its SHA-256."""
        self.sources.append({"path": storable(path.name), "bytes": path.stat().st_size, "sha256": sha256_of_file(path)})

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
        self._images.put(image_id, CollectedImage(file_name, width, height, part, source_id, licence, url, sha256))

    def add_instance(
        self,
        image_id: str,
        fact: Fact,
        source: str,
        *,
        subject_box: Box | None = None,
        object_box: Box | None = None,
        wording: Sequence[str | None] | None = None,
    ) -> None:
        """Add a labelled fact of an added picture. Of repetitions the first by source stays, the others are rejected.

        `source` says file and record ("facts.csv#12"); `wording` is the original text of the slots. Boxes lie inside
        the picture; they are kept in single precision.
        """
        fact_number = self._facts.number(fact, wording or fact.slots)
        self._added.add(self._images.number(image_id), fact_number, subject_box, object_box, source)

    def reject(self, source: str, reason: str, detail: str) -> None:
        """Note a record that is left out; `reason` is one of `REASONS`."""
        self._rejects.add(source, reason, detail)

    @property
    def rejected(self) -> dict[str, int]:
        """How many records were left out, by reason."""
        self._instances()
        return dict(self._rejects.counts)

    def part_of(self, image_id: str) -> str | None:
        """The part of an added picture; None where it is not known yet. KeyError if it was not added."""
        return self._images.found[image_id].part

    def has_part(self, part: str) -> bool:
        """Whether any picture is in `part`."""
        return any(image.part == part for image in self._images.found.values())

    def leave_out_rare(self, least: int) -> None:
        """Reject the instances of facts that fewer than `least` pictures show."""
        instances = self._instances()
        _, facts = distinct_pairs(instances)
        shown = np.bincount(facts, minlength=len(self._facts.facts))
        rare = shown[instances.fact] < least
        left_out = instances.take(rare)
        for _, fact, source in left_out.rows():
            self.reject(source, "rare fact", f"{self._facts.facts[fact]} is in {shown[fact]} pictures")
        self._sorted = instances.take(~rare)

    def pictures_in_use(self) -> int:
        """How many pictures have a fact."""
        return len(np.unique(self._instances().image))

    def files_in_use(self) -> set[str]:
        """Names of the files of all pictures that have a fact, as they were added."""
        used = np.unique(self._instances().image).tolist()
        return {self._images.found[self._images.names[number]].file_name for number in used}

    def carve(self, part: str, share: float, seed: int, *, out_of: str | None) -> tuple[int, int]:
        """Move a random `share` of the pictures whose part is `out_of` (None: not given) into `part`.

        A fact keeps at least one of its pictures where it was: a picture that is the last one of a fact stays. Drawn
        from the sorted names, so that the order of records does not matter. Returns how many were moved, and how
        many were wanted.
        """
        images, facts = distinct_pairs(self._instances())
        movable = np.array([part_now == out_of for part_now in self._images.parts()], dtype=np.bool_)[images]
        images, facts = images[movable], facts[movable]
        left = np.bincount(facts, minlength=len(self._facts.facts))
        starts = np.flatnonzero(np.diff(images, prepend=-1))  # pictures are sorted by name
        ends = np.append(starts[1:], len(images))
        wanted, moved = round(share * len(starts)), 0
        for index in np.random.default_rng([seed, PARTS.index(part)]).permutation(len(starts)).tolist():
            held = facts[starts[index] : ends[index]]
            if moved < wanted and (left[held] > 1).all():
                left[held] -= 1
                self._images.found[self._images.names[images[starts[index]]]].part = part
                moved += 1
        return moved, wanted

    def assign(self, part: str) -> None:
        """Put every picture whose part is not given into `part`."""
        for image in self._images.found.values():
            image.part = image.part or part

    def write(self, out: Path, *, fill: Callable[[Path], None] | None = None, overwrite: bool = False) -> Path:
        """Write the data set to the folder `out`, whole or not at all, and return the folder.

        `fill` writes the pictures that belong into the folder, if any. The same data set that is already there, whole,
        is left as it is, with its splits and caches; where a file of it is damaged or absent, it is written again and
        its splits are kept.

        Raises:
            UserError: no picture is labelled, or `out` holds something else and `overwrite` is false.
        """
        instances = self._instances()
        if not len(instances):
            raise UserError(self._nothing_valid())
        check_is_ours(out)
        with scratch_folder(out) as folder:
            written = write_tables(folder, self._images, self._facts, instances)
            self._rejects.write(folder / "rejected.jsonl")
            description = self._description(written, folder)
            write_json(folder / "dataset.json", description)
            write_text(folder / "README.md", card(description, written.facts))
            if (out / "dataset.json").is_file():
                same = _described(out, overwrite) == _described(folder)
                if same and _is_whole(out, description, written.images if fill is not None else None):
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
            _check_nothing_is_lost(out)
            put_in_place(folder, out)
        return out

    def _instances(self) -> Instances:
        """Return all instances, distinct and sorted; repetitions among them are rejected."""
        if len(self._added) or self._sorted is None:
            added = self._added.taken()
            self._added = InstanceColumns()
            found = added if self._sorted is None else joined(self._sorted, added)
            found, repeats = found.sorted(self._images.ranks(), self._facts.ranks())
            first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(found))))
            rows = np.flatnonzero(repeats)
            for again, kept in zip(found.take(rows).rows(), found.take(first[rows]).source.to_pylist(), strict=True):
                image, fact, source = again
                detail = f"{self._facts.facts[fact]} is already there for {self._images.names[image]} ({kept})"
                self.reject(source, "duplicate", detail)
            self._sorted = found.take(~repeats) if len(rows) else found
        return self._sorted

    def _nothing_valid(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in self._rejects.counts.most_common())
        first = "; the first: {}: {}".format(*self._rejects.first) if self._rejects.first else ""
        first = " ".join(first.split())  # a source may have lines in its words
        return f"{self.name} holds no labelled picture ({counts or 'no record at all'}){first}"

    def _description(self, written: Written, folder: Path) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "tool_version": version("mas-triplets"),
            **dict(self.about),
            "source_files": self.sources,
            "options": dict(self.options),
            "boxes": "x1 y1 x2 y2, pixels, 0-based, half-open, picture as stored",
            "counts": written.counts,
            "source_counts": self.source_counts,
            "rejected": dict(sorted(self.rejected.items())),
            "notes": self.notes,
            "files": {
                name: sha256_of_file(folder / name)
                for name in ("images.parquet", "facts.parquet", "instances.parquet", "rejected.jsonl")
            },
        }


def check_is_ours(out: Path) -> None:
    """Raise UserError if `out` holds something that is no prepared data set."""
    if out.exists() and not (out / "dataset.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a prepared data set: choose another --out, nothing was written")


def _check_nothing_is_lost(out: Path) -> None:
    """Raise UserError if `out`, which is to be replaced, holds what no preparation puts there."""
    if not out.is_dir():
        return
    ours = {"dataset.json", "README.md", "rejected.jsonl", "splits", "cache", *(f"{name}.parquet" for name in TABLES)}
    old = _described(out, overwrite=True) if (out / "dataset.json").is_file() else None
    options = old.get("options") if isinstance(old, dict) else None
    if not isinstance(options, dict) or options.get("store") != "reference":
        ours.add("images")  # else the pictures were never put there by a preparation
    strange = sorted(entry.name for entry in out.iterdir() if entry.name not in ours)
    if strange:
        raise UserError(
            f"{out} holds {strange[0]}, which is no part of a prepared data set and would be lost: move it elsewhere, "
            "or choose another --out"
        )


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
