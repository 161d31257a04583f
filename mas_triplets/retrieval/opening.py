"""Finding the run of an index, and noticing that another process has written the index anew."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mas_triplets.errors import UserError
from mas_triplets.files import put_back
from mas_triplets.retrieval.record import IndexRecord
from mas_triplets.training.run_folder import RunFolder

T = TypeVar("T")
_TRIES = 20


def steadily(path: Path, read: Callable[[], T]) -> T:
    """Return what `read` reads of the index in folder `path`, all of it of one writing.

    Another process may put another index in its place at any moment; then it is read again. What a killed process had
    set aside gets its name back first.

    Raises:
        UserError: `read` raised it, or the index is written again and again.
    """
    put_back(path)
    for _ in range(_TRIES):
        before = written(path)
        try:
            found = read()
        except UserError:
            if written(path) == before:
                raise
            continue
        if written(path) == before:
            return found
    raise UserError(f"{path} is being written again and again by another process: try later")


def written(path: Path) -> bytes | None:
    """Return index.json as it stands, which differs between any two writings of an index."""
    try:
        return (path / "index.json").read_bytes()
    except OSError:
        return None


def find_run(
    path: Path, record: IndexRecord, given: str | Path | RunFolder | None, *, as_is: bool = False
) -> RunFolder:
    """Return the run that filled the index in folder `path`: the one given, or where the index noted it.

    Args:
        path: the index.
        record: its index.json.
        given: the run, or None.
        as_is: be content with a run that has learnt further tasks since.

    Raises:
        UserError: it is not there, or its model is no longer the one that filled the index.
    """
    if isinstance(given, RunFolder):
        runs = [given]
    elif given is not None:
        runs = [RunFolder(given)]
    else:
        places = [Path(record.model.run), path / record.model.run_relative]
        runs = [RunFolder(place) for place in places if (place / "run.json").is_file()]
    if not runs:
        raise UserError(
            f"the run that filled {path} is not at {record.model.run}: say where it is with `--run RUN`, or make the "
            f"index again with `mas-triplets index RUN --out {path}`"
        )
    for run in runs:
        if run.stages > 0 and run.model_fingerprint() == record.model.fingerprint:
            return run
    for run in runs:
        if run.stages > record.model.after_task and model_then(run, record) == record.model.fingerprint:
            if as_is:
                return run
            raise UserError(
                f"{path} was filled by the model after task {record.model.after_task} of {run.path}, which has learnt "
                f"up to task {run.stages} since: `mas-triplets index refresh {shlex.quote(str(path))}"
                f"{'' if given is None else f' --run {shlex.quote(str(run.path))}'}` embeds its pictures with the new "
                "model, --as-is asks the old one, and `mas-triplets describe` tells what either costs"
            )
    raise UserError(
        f"{path} was filled by another model than the one {runs[0].path} holds now (then after task "
        f"{record.model.after_task}, now after task {max(runs[0].stages, 0)}): {record.remedy(path, runs[0].path)}"
    )


def model_then(run: RunFolder, record: IndexRecord) -> str | None:
    """Return the fingerprint of the run's model after the task that the index says; None if it has none."""
    try:
        return run.model_fingerprint(record.model.after_task)
    except UserError:
        return None
