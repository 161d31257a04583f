"""The orders of tasks of a comparison: which splits are of one kind, and what must be equal within a seed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.files import read_json, sha256_of_json, to_json

_NUMBER = re.compile(r"[-_.]\d+$")


def check_comparable(entries: Sequence[Entry]) -> None:
    """Refuse runs whose numbers are not of the same question.

    All runs must be of the same data, part and region, on splits of one kind: made in one way, into as many tasks.
    Several orders of tasks are several such splits, each with a seed of its own: runs of one seed share the split.

    Raises:
        UserError: it names two runs, what differs, and how.
    """
    kinds = split_kinds(entries)
    bases = [_basis(entry, kind) for entry, kind in zip(entries, kinds, strict=True)]
    first = entries[0]
    for other, theirs in zip(entries, bases, strict=True):
        differing = [
            f"{what} ({told} and {theirs[what][1]})"
            for what, (value, told) in bases[0].items()
            if value != theirs[what][0]
        ]
        if differing:
            raise UserError(
                f"{first.run.path} and {other.run.path} differ in {', '.join(differing)}, so their numbers cannot be "
                "compared: compare them apart"
            )
    of_seed: dict[int, Entry] = {}
    for entry in entries:
        mate = of_seed.setdefault(entry.seed, entry)
        if mate.split != entry.split:
            raise UserError(
                f"{mate.run.path} and {entry.run.path} have the seed {entry.seed}, but differ in split ("
                f"{_told(mate)} and {_told(entry)}), so it is not clear what goes with what: give each order of tasks "
                "a seed of its own, or compare them apart"
            )


def split_kinds(entries: Sequence[Entry]) -> list[str]:
    """Return how the split of each run was made: two with the same text are two orders of one kind.

    That is the method and its parameters, as long as the files of all splits are there; a file that a split was made
    from has no part in it. Otherwise it is the name without the number at its end, `random4` for `random4-0`.
    """
    made = [_made(entry) for entry in entries]
    if all(made):
        return [str(kind) for kind in made]
    return [_NUMBER.sub("", entry.split_name) for entry in entries]


def _made(entry: Entry) -> str | None:
    """Return how the run's split was made; None if its file is gone or has changed."""
    path = Path(entry.run.config.data.path) / "splits" / f"{entry.split_name}.json"
    try:
        tree: Any = read_json(path, "a split")
    except UserError:
        return None
    if not isinstance(tree, dict) or sha256_of_json(tree) != entry.split:
        return None
    parameters = {key: value for key, value in tree.get("parameters", {}).items() if key != "file"}
    return f"{tree.get('method')} {to_json(parameters, indent=None)}"


def _basis(entry: Entry, kind: str) -> dict[str, tuple[object, str]]:
    """What must be equal in all runs, and how to tell it."""
    about = entry.results["run"]
    data, region = str(about["data_fingerprint"]), entry.run.config.data.region
    return {
        "data": (data, f"{about['data']} {data[:8]}"),
        "split": ((kind, len(about["tasks"])), _told(entry)),
        "part": (about["part"], str(about["part"])),
        "data.region": (region, region),
    }


def _told(entry: Entry) -> str:
    return f"{entry.split_name} {entry.split[:8]}, {len(entry.results['run']['tasks'])} tasks"
