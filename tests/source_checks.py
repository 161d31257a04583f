"""What the tests of all sources ask of a prepared data set, and damaged copies of a source's files."""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from forked import in_child

from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

Row = tuple[str, str, str, list[float] | None, list[float] | None]

JSON_PIECES = (
    b"NaN",
    b"1e999",
    b"null",
    b"-1",
    b'"',
    b"{",
    b"[]",
    b"\xff",
    b"9" * 5000,
    b"true",
    b"\\ud800",
    b"",
    b"7",
)
CSV_PIECES = (
    b"nan",
    b"1e999",
    b"-1",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\xff",
    b"\0",
    b"9" * 5000,
    b"*",
    b"..",
    b"/m/",
    b"is",
    b"",
)


def rows(dataset: PreparedDataset) -> list[Row]:
    """Picture, fact, part, box of the subject, box of the object of each instance."""
    found = pq.read_table(dataset.folder / "instances.parquet").to_pylist()
    keys = ("image_id", "fact_id", "split", "subject_box", "object_box")
    return [(row[keys[0]], str(dataset.facts[row[keys[1]]]), *(row[key] for key in keys[2:])) for row in found]


def rejected(dataset: PreparedDataset) -> list[tuple[str, str]]:
    """Reason and source of each record left out, sorted."""
    lines = (dataset.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((record["reason"], record["source"]) for record in map(json.loads, lines))


def reasons(dataset: PreparedDataset) -> Counter[str]:
    """How many records were left out for each reason."""
    return Counter(reason for reason, _ in rejected(dataset))


def damage(
    files: Iterable[Path],
    attempt: Callable[[int], object],
    *,
    pieces: tuple[bytes, ...] = JSON_PIECES,
    trials: int = 200,
) -> Counter[str]:
    """Edit a file at one to three random places, attempt to prepare, put it back; `trials` times.

    Args:
        files: those that are damaged, one at a time.
        attempt: prepares the source; its argument is the number of the trial.
        pieces: what is written over up to four bytes.
        trials: how often.

    Returns:
        How often it ended in a data set and in a UserError. Any other exception is the test's failure.
    """
    chance = random.Random(0)
    whole = {file: file.read_bytes() for file in files}
    endings: Counter[str] = Counter()
    for trial in range(trials):
        file = chance.choice(sorted(whole))
        damaged = bytearray(whole[file])
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(damaged))
            damaged[start : start + chance.randint(0, 4)] = chance.choice(pieces)
        file.write_bytes(bytes(damaged))
        try:
            attempt(trial)
            endings["data set"] += 1
        except UserError:
            endings["sentence"] += 1
        file.write_bytes(whole[file])
    return endings


def fork_processes_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    """Let a module that reads files in a process of its own fork it from one that has the module loaded already.

    Nothing else changes: what a damaged file does to the process, it does to that one. But two hundred of them take
    seconds, since none has to import SciPy or h5py.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_prep.h5_files", "data_prep.mat_files"])  # one server serves all tests
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # else each process imports pytest's

    def run(command: list[str], *, timeout: float, **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[1:4] == ["-P", "-m", module.__name__]
        files = [str(scratch / name) for name in ("out", "err")]
        child = context.Process(target=in_child, args=(module.__name__, command[4:], files))
        child.start()
        child.join(timeout)
        assert child.exitcode is not None, "it hangs"
        return subprocess.CompletedProcess(command, child.exitcode, *(Path(file).read_bytes() for file in files))

    monkeypatch.setattr(subprocess, "run", run)
