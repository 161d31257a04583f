"""The runs of a comparison, read from their folders, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.errors import UserError
from mas_triplets.evaluation.stored_results import own_task_map, read_results
from mas_triplets.lifelong import uses_strength
from mas_triplets.training.run_folder import RunFolder

_ELSEWHERE = ("seed", "data.path", "data.split", "data.cache", "data.workers", "train.threads", "train.device")
"""Settings that do not make two runs two methods; how splits may differ is checked apart, in `orders`."""


@dataclass(frozen=True)
class Entry:
    """A run that is compared.

    Attributes:
        name: its folder's name, with the folder above where two are alike.
        run: the run.
        results: its results.json.
        settings: its configuration without what does not make another method.
        split: the fingerprint of its split: of which facts are in which task, and the order of the tasks.
    """

    name: str
    run: RunFolder
    results: dict[str, Any]
    settings: dict[str, Any]
    split: str

    @property
    def strategy(self) -> str:
        """The method's name."""
        return str(self.results["run"]["strategy"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.results["run"]["seed"])

    @property
    def split_name(self) -> str:
        """The name of its split."""
        return str(self.results["run"]["split"])

    @property
    def pair(self) -> tuple[int, str]:
        """What two runs must share to be paired: the seed and the split."""
        return self.seed, self.split


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
        split = str(folder.record.get("split_fingerprint", results["run"]["split"]))
        entries.append(Entry(name, folder, results, settings, split))
    order = {"finetune": 0, "joint": 2}
    methods = list(dict.fromkeys(repr(entry.settings) for entry in entries))
    return sorted(entries, key=lambda e: (order.get(e.strategy, 1), methods.index(repr(e.settings)), e.seed))
