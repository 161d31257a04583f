"""The runs of a sweep: what each is, whether it is there already, and doing it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mas_triplets.config import RunConfig, flat_values, make_config
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.evaluation.stored_results import stored_results
from mas_triplets.files import sha256_of_json
from mas_triplets.lifelong import closed_form, first_task_is_plain
from mas_triplets.training.run import Resume, train
from mas_triplets.training.run_folder import RunFolder

Kind = Literal["first task", "trial", "final"]
"""A first task that runs have in common, a run to choose by, a run to report."""
_KEPT = frozenset({"config.yaml", "run.json", "results.json"})
"""What is kept of a finished trial: models of hundreds of them are large."""
_LENT = frozenset({"config.yaml", "run.json", "log.jsonl", "tasks", "language.json", "language.safetensors"})
"""What is kept of a first task that is lent to runs."""

_LENT_SHARE = 0.75
"""What is left to learn of a run whose first task is lent, with four tasks; close enough to sort by."""


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        kind: what it is for.
        name: its folder, as seen from that of the sweep.
        config: its configuration.
        out: its folder.
        lender: the run that lends it its first task, if one does.
        chosen: keys that the sweep chose: a final run that differs in them alone is of an earlier choice.
    """

    kind: Kind
    name: str
    config: RunConfig
    out: Path
    lender: Path | None = None
    chosen: tuple[str, ...] = ()

    @property
    def cost(self) -> float:
        """About how long it takes, in epochs of the whole data set."""
        if closed_form(self.config.lifelong.strategy):
            return 0.0
        return self.config.train.epochs * (_LENT_SHARE if self.lender is not None else 1.0)


def lender_of(config: RunConfig, out: Path) -> Job | None:
    """Return the run that learns the first task of `config` for all runs that learn it alike; None if it is its own.

    Args:
        config: of a run.
        out: folder of the sweep.
    """
    if not first_task_is_plain(config.lifelong):
        return None
    tree = config.model_dump(mode="json")
    plain = make_config({**tree, "lifelong": {"strategy": "finetune"}, "evaluation": {}})
    key = sha256_of_json(flat_values(plain))[:8]
    name = f"first-task/order-{config.seed}-{key}"
    return Job("first task", name, plain, out / name)


def is_done(job: Job, fingerprints: Mapping[str, str]) -> bool:
    """Whether a run is finished; what is left of a trial that was stopped as it was cleared away is removed.

    Args:
        job: the run.
        fingerprints: the entries of run.json that tell which data and split it is of.

    Raises:
        UserError: there is another run in its folder.
    """
    if not (job.out / "run.json").is_file():
        return False
    run = RunFolder(job.out)
    record, mine, theirs = run.record, flat_values(job.config), flat_values(run.config)
    differing = [key for key in _differing(job) if key not in job.chosen]
    changed = [f"{key} ({theirs.get(key)!r} there, {mine[key]!r} now)" for key in differing]
    changed += [key for key, value in fingerprints.items() if record.get(key) != value]
    if changed:
        raise UserError(
            f"{job.out} holds a run with another {', '.join(changed)}: choose another --out for this sweep, or remove "
            "that folder"
        )
    if job.kind == "first task":
        return run.stages >= 1
    if record["state"] != "finished" or not (job.out / "results.json").is_file() or of_earlier_choice(job):
        return False
    if job.kind == "trial":
        _keep(job.out, _KEPT)
    return True


def of_earlier_choice(job: Job) -> bool:
    """Whether its folder holds the same run with another setting chosen: it is done anew, in its place."""
    changed = _differing(job)
    return bool(changed) and set(changed) <= set(job.chosen)


def _differing(job: Job) -> list[str]:
    """Return the keys whose values are others in the run that is in its folder; none if there is none."""
    if not (job.out / "run.json").is_file():
        return []
    mine, theirs = flat_values(job.config), flat_values(RunFolder(job.out).config)
    return [key for key in mine if mine[key] != theirs.get(key)]


def perform(job: Job) -> float:
    """Do a run, or the rest of it, and return the seconds that it took.

    Raises:
        UserError: as of `train` and `evaluate`.
        Stopped: it was asked to stop.
    """
    began = time.monotonic()
    resume: Resume = "never" if of_earlier_choice(job) else "auto"
    if job.kind == "first task":
        train(job.config, job.out, until=1)
        _keep(job.out, _LENT)
    else:
        lender = None if job.lender is None else RunFolder(job.lender)
        evaluate(train(job.config, job.out, resume=resume, first_task=lender))
        if job.kind == "trial":
            _keep(job.out, _KEPT)
    return time.monotonic() - began


def results_of(job: Job) -> dict[str, Any]:
    """Return the results.json of a finished run.

    Raises:
        UserError: it is damaged.
    """
    return stored_results(RunFolder(job.out))


def _keep(folder: Path, names: frozenset[str]) -> None:
    for path in folder.iterdir():
        if path.name in names:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
