"""The runs of a comparison: read, checked to be comparable, and grouped into methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.errors import UserError
from mas_triplets.evaluation.stored_results import own_task_map, read_results, uses_strength
from mas_triplets.training.run_folder import RunFolder

LABELLED = ("lifelong.strategy", "lifelong.strength")
"""Settings that a method is called by."""

_ELSEWHERE = ("seed", "data.path", "data.cache", "train.threads", "train.device")
"""Settings that do not make two runs two methods."""


@dataclass(frozen=True)
class Entry:
    """A run that is compared.

    Attributes:
        name: its folder's name, with the folder above where two are alike.
        run: the run.
        results: its results.json.
        settings: its configuration without what does not make another method.
    """

    name: str
    run: RunFolder
    results: dict[str, Any]
    settings: dict[str, Any]

    @property
    def strategy(self) -> str:
        """The method's name."""
        return str(self.results["run"]["strategy"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.results["run"]["seed"])


@dataclass(frozen=True)
class Method:
    """The runs that differ in nothing but their seed."""

    label: str
    entries: tuple[Entry, ...]

    @property
    def strategy(self) -> str:
        """The method's name."""
        return self.entries[0].strategy


def read_entries(runs: Sequence[RunFolder | str | Path]) -> list[Entry]:
    """Read the runs, the lower bound first and the upper bound last, runs of one method together, by seed.

    Raises:
        UserError: no run, one given twice, or one that is not evaluated or not finished.
    """
    folders = [run if isinstance(run, RunFolder) else RunFolder(run) for run in runs]
    if not folders:
        raise UserError("there is nothing to compare: give the folders of one or more evaluated runs")
    paths = [folder.path.resolve() for folder in folders]
    twice = [str(path) for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise UserError(f"{twice[0]} is given twice: name each run once")
    names = [path.name for path in paths]
    entries = []
    for folder, path in zip(folders, paths, strict=True):
        results = read_results(folder)
        if all(value is None for value in own_task_map(results)["R"][-1]):
            done, tasks = results["run"].get("stages", 0), len(results["run"]["tasks"])
            raise UserError(
                f"{folder.path} has learnt {done} of {tasks} tasks, so its numbers cannot be compared: finish it with "
                f"`mas-triplets train`, then run `mas-triplets evaluate {folder.path}`"
            )
        settings = {key: value for key, value in flat_values(folder.config).items() if key not in _ELSEWHERE}
        if not uses_strength(results["run"]["strategy"]):
            settings["lifelong.strength"] = None
        name = path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        entries.append(Entry(name, folder, results, settings))
    order = {"finetune": 0, "joint": 2}
    methods = list(dict.fromkeys(repr(entry.settings) for entry in entries))
    return sorted(entries, key=lambda e: (order.get(e.strategy, 1), methods.index(repr(e.settings)), e.seed))


def check_comparable(entries: Sequence[Entry]) -> None:
    """Refuse runs whose galleries are not the same.

    Raises:
        UserError: it names two runs, what differs, and how.
    """
    first = entries[0]
    for other in entries[1:]:
        mine, theirs = _basis(first), _basis(other)
        differing = [
            f"{what} ({mine[what][1]} and {theirs[what][1]})" for what in mine if mine[what][0] != theirs[what][0]
        ]
        if differing:
            raise UserError(
                f"{first.run.path} and {other.run.path} differ in {', '.join(differing)}, so their numbers cannot be "
                "compared: compare them apart"
            )


def _basis(entry: Entry) -> dict[str, tuple[object, str]]:
    """What must be equal, and how to tell it."""
    about, record = entry.results["run"], entry.run.record
    data, split = str(about["data_fingerprint"]), str(record.get("split_fingerprint", about["split"]))
    region = entry.run.config.data.region
    return {
        "data": (data, f"{about['data']} {data[:8]}"),
        "split": ((split, tuple(about["tasks"])), f"{about['split']} {split[:8]}, {len(about['tasks'])} tasks"),
        "part": (about["part"], str(about["part"])),
        "data.region": (region, region),
    }


def methods_of(entries: Sequence[Entry]) -> list[Method]:
    """Group runs that differ in nothing but their seed, in the order of their first ones."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(repr(entry.settings), []).append(entry)
    groups = list(grouped.values())
    return [Method(_label(group[0], [other[0] for other in groups]), tuple(group)) for group in groups]


def _label(entry: Entry, others: Sequence[Entry]) -> str:
    """Return the strategy, its strength, and what else sets it apart from others of the same two."""
    alike = [other for other in others if all(other.settings[key] == entry.settings[key] for key in LABELLED)]
    apart = differing(alike, lambda key: True)
    strength = entry.settings["lifelong.strength"]
    parts = [entry.strategy, *([] if strength is None else [f"{strength:g}"])]
    return ", ".join([" ".join(parts), *(f"{key.rpartition('.')[2]} {entry.settings[key]}" for key in apart)])


def differing(entries: Sequence[Entry], wanted: Callable[[str], bool]) -> list[str]:
    """Return the wanted settings that are not the same in all runs."""
    keys = [key for key in entries[0].settings if wanted(key)]
    return [key for key in keys if len({repr(entry.settings[key]) for entry in entries}) > 1]
