"""Carrying out a sweep: settings are chosen on validation pictures, then what was chosen is judged on test pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import read_split
from mas_triplets.errors import Stopped, UserError
from mas_triplets.evaluation.compare import compare
from mas_triplets.files import locked, read_json, write_json
from mas_triplets.model.inputs import item_inputs
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.model.triplet import make_model
from mas_triplets.progress import SILENT, Silent
from mas_triplets.sweep.jobs import Job
from mas_triplets.sweep.layout import Layout
from mas_triplets.sweep.orders import make_orders, what_varies, write_orders
from mas_triplets.sweep.plan import SweepPlan
from mas_triplets.sweep.sitting import Sitting
from mas_triplets.sweep.summary import choice_record, curve_points, final_rows, plan_record
from mas_triplets.sweep.workers import ProcessWorkers, Workers
from mas_triplets.threads import limited_threads
from mas_triplets.training.processes import choose_device

_PACKAGES = ("mas-triplets", "torch", "numpy")


def sweep(
    plan: SweepPlan, out: str | Path, *, processes: int | None = None, progress: Silent = SILENT
) -> dict[str, Any]:
    """Choose the settings of each method, then train and judge each with what was chosen, and compare them.

    Runs that are there already are not done again, and one that was stopped goes on, to the same bits. With more than
    one process, a script that calls this keeps it under `if __name__ == "__main__"`.

    Args:
        plan: what to do: `make_plan`.
        out: folder of the sweep: see `layout`.
        processes: runs side by side; None: as many as there are processors for their threads.
        progress: who is told how far it is.

    Returns:
        The contents of sweep.json: `plan`, `choices` (label -> the setting and what was tried), `final` (a row a
        method), `comparison` (what `compare` gives), `data`, `versions`, and of all sittings `seconds` and
        `run_seconds` (of each run).

    Raises:
        UserError: the data set or the split does not fit, `out` holds something else or other runs, another sweep is at
            work there, or a run failed: the sentence begins with its name.
        Stopped: SIGINT or SIGTERM arrived.
    """
    began, out = time.monotonic(), Path(out)
    if processes is not None and processes < 1:
        raise UserError(f"a sweep needs at least one process, not {processes}: set --processes 1 or more")
    before = _earlier(out)
    dataset = PreparedDataset.open(plan.config.data.path)
    dataset.check_has_pictures()
    split = read_split(dataset, plan.config.data.split)
    splits = make_orders(dataset, split, plan.orders, what_varies(split, plan.vary))
    layout = Layout(plan, out, dataset, dict(zip(plan.orders, splits, strict=True)))
    layout.check()
    write_orders(dataset, splits)
    for note in plan.notes:
        progress.note(note)
    with locked(out, "another sweep"):
        return _carry_out(layout, processes, before, began, progress)


def _carry_out(
    layout: Layout, processes: int | None, before: dict[str, Any], began: float, progress: Silent
) -> dict[str, Any]:
    """Do what is left, and write the record however that ends."""
    count = processes or max(1, _processors() // (layout.plan.config.train.threads or 1))
    sitting = Sitting(layout, count, progress)

    def record(comparison: dict[str, Any] | None = None) -> dict[str, Any]:
        found = _record(sitting, comparison, before, time.monotonic() - began)
        write_json(layout.out / "sweep.json", found)
        return found

    record()
    if sitting.left:
        progress.note(f"{sitting.left} of {sitting.total} runs are left to do, {count} at a time")
        try:
            _prepare(sitting.first_jobs(), layout.dataset, progress)
            with ProcessWorkers(min(count, sitting.left)) if count > 1 else Workers() as workers:
                sitting.learn(workers)
        except (KeyboardInterrupt, Stopped):
            raise Stopped(
                f"stopped after {sitting.runs_done()} of {sitting.left} runs: the same command goes on from there"
            ) from None
        finally:
            record()
    return record(_compare(sitting, progress))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _earlier(out: Path) -> dict[str, Any]:
    """Return the sweep.json of earlier sittings, {} before the first one.

    Raises:
        UserError: the folder holds something else.
    """
    if (out / "sweep.json").is_file():
        found = read_json(out / "sweep.json", "the record of a sweep")
        if isinstance(found, dict) and {"plan", "seconds", "run_seconds"} <= found.keys():
            return found
        raise UserError(f"{out / 'sweep.json'} is not the record of a sweep: choose another --out, or remove it")
    if out.exists() and (not out.is_dir() or any(path.name != ".lock" for path in out.iterdir())):
        raise UserError(f"{out} exists and is not a sweep: choose another --out, nothing was written")
    return {}


def _prepare(jobs: Sequence[Job], dataset: PreparedDataset, progress: Silent) -> None:
    """Decode and encode the pictures once, before processes side by side would each do it."""
    seen: list[dict[str, Any]] = []
    for config in (job.config for job in jobs):
        flat = flat_values(config)
        key = {name: value for name, value in flat.items() if name.startswith(("model.", "data.", "train.augment"))}
        key |= {"data.split": None, "data.train_parts": None}
        if key in seen:
            continue
        seen.append(key)
        with limited_threads(config.train.threads):
            cache = config.data.cache or dataset.folder / "cache"
            encoder, centre = make_text_encoder(config.model.text), config.model.text.centre
            language = LanguageTable.build(dataset.words, encoder, centre=centre, cache=cache, progress=progress)
            note = language.note()
            if note:
                progress.note(note)
            model = make_model(config.model, language, config.seed).to(choose_device(config.train.device))
            items = items_of(dataset, config.data.region)
            for learning in (True, False):  # what is augmented is kept in another form
                item_inputs(model, dataset, items, config, progress, learning=learning)


def _compare(sitting: Sitting, progress: Silent) -> dict[str, Any]:
    """Write report.html and its tables, and return what is told of them."""
    layout = sitting.layout
    jobs = [
        job
        for candidate in layout.plan.candidates
        for job in layout.finals(candidate, sitting.choices[candidate.method.label].setting)
    ]
    curves = [
        point
        for label, choice in sitting.choices.items()
        for point in curve_points(label, choice.setting, choice.tried, choice.edges)
    ]
    tried = f": {layout.plan.budget} settings tried of each method that has something to choose" if curves else ""
    title = f"Sweep on {layout.dataset.name}{tried}"
    runs, page = [job.out for job in jobs], layout.out / "report.html"
    return compare(runs, page, title=title, curves=curves, retrievals=True, progress=progress)


def _record(
    sitting: Sitting, comparison: dict[str, Any] | None, before: dict[str, Any], seconds: float
) -> dict[str, Any]:
    layout, numbers = sitting.layout, sitting.final_numbers()
    methods = [candidate.method for candidate in layout.plan.candidates if candidate.method.label in numbers]
    settings = {label: choice.setting for label, choice in sitting.choices.items()}
    names = {number: split.name for number, split in layout.splits.items()}
    return {
        "plan": plan_record(layout.plan, names),
        "choices": {
            label: choice_record(choice.setting, choice.tried, choice.edges)
            for label, choice in sitting.choices.items()
        },
        "final": final_rows(methods, settings, numbers),
        "comparison": comparison,
        "data": {"name": layout.dataset.name, "fingerprint": layout.dataset.fingerprint},
        "versions": {name: version(name) for name in _PACKAGES},
        "seconds": round(before.get("seconds", 0.0) + seconds, 1),
        "run_seconds": {
            **before.get("run_seconds", {}),
            **{name: round(value, 2) for name, value in sitting.seconds.items()},
        },
    }
