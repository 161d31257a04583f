"""Training a run: the tasks of a split one after another, safe on disk at any moment."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mas_triplets.config import RunConfig, flat_values
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import read_split
from mas_triplets.errors import Stopped, UserError
from mas_triplets.files import remove_unfinished, write_json, write_text
from mas_triplets.lifelong import make_strategy
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.zero_shot import ZeroShot
from mas_triplets.model.inputs import ItemInputs, item_inputs
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.losses import make_loss
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.model.triplet import TripletModel, make_model
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads
from mas_triplets.training.checkpoints import Checkpoints
from mas_triplets.training.first_task import check_shares_first_task, take_first_task
from mas_triplets.training.fit import Learner, planned_steps
from mas_triplets.training.interruption import Interruption
from mas_triplets.training.log import RunLog
from mas_triplets.training.processes import Processes
from mas_triplets.training.run_folder import FINGERPRINTS, RunFolder, new_record
from mas_triplets.training.session import Session
from mas_triplets.training.stages import StageData, check_training_items, stage_data, stages_of, training_items
from mas_triplets.training.state import DONE, LEARNT, TrainingState

Resume = Literal["auto", "never"]
_SAMPLE = 16  # pictures encoded to tell what augmentation will cost


def train(
    config: RunConfig,
    out: str | Path,
    *,
    resume: Resume = "auto",
    first_task: RunFolder | None = None,
    until: int | None = None,
    progress: Silent = SILENT,
) -> RunFolder:
    """Learn the tasks of a split one after another and return the run folder.

    In processes started by a launcher (`accelerate launch`, `torchrun`) each calls this; only the first writes.

    Args:
        config: the configuration.
        out: folder of the run.
        resume: `auto` goes on from the last checkpoint of the same run, to the same bits; `never` starts anew.
        first_task: a run, equal but for its method, whose first task is taken instead of learnt once more. The result
            is the same, bit for bit.
        until: stop when this many tasks are learnt, and leave the run to be gone on with; None learns all.
        progress: who is told how far it is.

    Raises:
        UserError: a name in the configuration is unknown, the data set or split does not fit, a fact has no training
            picture, `out` holds another run, `first_task` does not fit, the loss explodes, or the disk is full.
        Stopped: SIGINT or SIGTERM arrived; how to go on is said.
    """
    out = Path(out)
    strategy, loss = make_strategy(config.lifelong), make_loss(config.loss)
    if isinstance(strategy, ZeroShot) and not config.model.residual:
        raise UserError(
            f"'{strategy.name}' judges the model as it is before it has learnt anything, which means something only "
            "where pictures and words share a space: set model.residual=true, with both encoders of one checkpoint"
        )
    dataset = PreparedDataset.open(config.data.path)
    dataset.check_has_pictures()
    split = read_split(dataset, config.data.split)
    items = training_items(config, dataset, split)
    check_training_items(config, dataset, items, split)
    processes = Processes.start(config.train.device)
    progress = progress if processes.main else SILENT
    interruption = Interruption()
    with limited_threads(config.train.threads), interruption.listening():
        with processes.main_first():
            language = LanguageTable.build(
                dataset.words,
                make_text_encoder(config.model.text),
                centre=config.model.text.centre,
                cache=config.data.cache or dataset.folder / "cache",
                progress=progress,
            )
            model = make_model(config.model, language, config.seed).to(processes.device)
            inputs = _inputs(config, model, dataset, items, progress)  # before an old run is given up
            items = items.without(inputs.unreadable)
            check_training_items(config, dataset, items, split, len(inputs.unreadable))
        record = new_record(config, dataset, split, model, processes.count)
        if first_task is not None:
            check_shares_first_task(config, record, first_task)
        with processes.main_first():
            run = _open_run(out, config, record, model, resume, write=processes.main)
        facts = stages_of(split, config.lifelong.strategy)
        data = [stage_data(config, items, np.array(of_stage), dataset, model) for of_stage in facts]
        if run.record["state"] == "finished" and run.stages >= len(data):
            return run
        state = TrainingState(model, strategy)
        strategy.join(processes.rank, processes.count, processes.sum if processes.count > 1 else None, config.seed)
        checkpoints = Checkpoints(out / "checkpoint")
        _load(state, checkpoints, run, processes, progress)
        _say_beforehand(config, language, model, strategy, progress)
        vectors, mask = (table.to(processes.device) for table in language.embed(dataset.facts))
        planned = sum(planned_steps(part, stage, strategy, config.train) for stage, part in enumerate(data, 1))
        learner = Learner(config, loss, inputs, processes, vectors, mask, planned)
        last = len(data) if until is None else min(until, len(data))
        with RunLog(out, state.log_bytes, state.steps, write=processes.main) as log:
            session = Session(run, state, data[:last], learner, log, checkpoints, interruption, progress)
            try:
                _begin(session, data[0], first_task)
                session.learn()
            except KeyboardInterrupt:
                raise Stopped(
                    f"stopped in task {max(1, state.stage)}; the last checkpoint is {checkpoints.last_name()}: the "
                    "same command goes on from there, to the same bits"
                ) from None
    processes.wait()
    if state.stage == len(data) and processes.main:
        run.write_record({**run.record, "state": "finished", "unreadable": sorted(state.unreadable.values())})
    processes.wait()
    return run


def _inputs(
    config: RunConfig, model: TripletModel, dataset: PreparedDataset, items: Any, progress: Silent
) -> ItemInputs:
    """Return what the model learns from: kept features, unless augmentation asks for pictures."""
    changed = config.train.augmentation.changes
    inputs = item_inputs(model, dataset, items, config, progress, learning=True)
    if changed and config.model.image.frozen and len(items):
        sample = next(inputs.inputs(np.arange(min(_SAMPLE, len(items)))), None)
        if sample is not None:
            began = time.monotonic()
            with torch.no_grad():
                model.encoder.frozen_part(sample)
            each = (time.monotonic() - began) / len(sample)
            progress.note(
                "augmentation with a frozen encoder: nothing it gives can be kept, so each epoch encodes every picture "
                f"anew, about {1000 * each:.0f} ms a picture; without train.augmentation each is encoded once"
            )
    return inputs


def _load(
    state: TrainingState, checkpoints: Checkpoints, run: RunFolder, processes: Processes, progress: Silent
) -> None:
    if processes.main:
        for folder in (checkpoints.folder, run.path / "tasks"):
            remove_unfinished(folder)
    told = state.load(checkpoints)
    if told:
        progress.note(told)
    finished = state.stage if state.phase == DONE else state.stage - 1
    if checkpoints.any() and run.stages < finished:
        raise UserError(f"{run.path / 'tasks'} lacks finished tasks: start the run again with --resume never")


def _begin(session: Session, first: StageData, first_task: RunFolder | None) -> None:
    """Write the untrained model, and take the first task of another run, if nothing is learnt yet."""
    state, run, inputs = session.state, session.run, session.learner.inputs
    model, main = state.model, session.learner.processes.main
    if state.stage == 0 and not session.checkpoints.any():
        if model.standardises:
            with torch.no_grad():
                rows = [
                    batch if batch.is_floating_point() else model.encoder.frozen_part(batch)
                    for batch in inputs.inputs(first.items)
                ]
            if not rows:
                reason = next(iter(inputs.unreadable.values()))
                raise UserError(f"none of the pictures of the first task can be read; the first: {reason}")
            model.standardise_features(torch.cat(rows))
        if main:
            run.write_stage(0, model, {}, {})
        session.save()
    if first_task is not None and state.stage == 0 and session.data:
        take_first_task(state, first_task, session.log)
        state.stage, state.phase = 1, LEARNT
        session.finish_stage(first)


def _say_beforehand(
    config: RunConfig, language: LanguageTable, model: TripletModel, strategy: Strategy, progress: Silent
) -> None:
    note = language.note()
    if note:
        progress.note(note)
    learnt = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    held = strategy.memory_bytes(model)
    keeps = f"; {config.lifelong.strategy} keeps {held / 2**20:,.1f} MiB besides" if held else ""
    progress.note(f"{learnt:,} parameters are learnt{keeps}")


_FIRST_FILES = frozenset({"config.yaml", "language.json", "language.safetensors"})
"""What is written before run.json: a folder with nothing else is a run that was stopped as it began."""


def _open_run(
    out: Path, config: RunConfig, record: dict[str, Any], model: TripletModel, resume: Resume, *, write: bool
) -> RunFolder:
    if not write:
        return RunFolder(out)
    if (out / "run.json").is_file():
        if resume == "auto":
            run = RunFolder(out)
            _check_same(run, config, record)
            return run
        for name in ("checkpoint", "tasks", "tensorboard"):  # without its checkpoint nothing goes on from the rest
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("log.jsonl", "results.json", "report.html", "run.json"):
            (out / name).unlink(missing_ok=True)
    elif out.exists() and (not out.is_dir() or any(not _is_first(path) for path in out.iterdir())):
        raise UserError(f"{out} exists and is not a run: choose another --out, nothing was written")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.yaml", config.to_yaml())
    model.language.save(out)
    write_json(out / "run.json", record)
    return RunFolder(out)


def _is_first(path: Path) -> bool:
    """Whether it is one of the first files, or one of them half-written by a process that was killed."""
    begun = path.suffix == ".partial" and any(path.name.startswith(f".{name}.") for name in (*_FIRST_FILES, "run.json"))
    return begun or path.name in _FIRST_FILES


def _check_same(run: RunFolder, config: RunConfig, record: dict[str, Any]) -> None:
    mine, theirs = (flat_values(node) for node in (config, run.config))
    changed = [f"{key} ({theirs.get(key)!r} there, {mine[key]!r} here)" for key in mine if mine[key] != theirs.get(key)]
    changed += [key for key in FINGERPRINTS if run.record.get(key) != record[key]]
    if run.record.get("processes", 1) != record["processes"]:
        changed.append(f"number of processes ({run.record.get('processes', 1)} there, {record['processes']} here)")
    if changed:
        raise UserError(
            f"{run.path} holds a run with another {', '.join(changed)}: choose another --out, or pass --resume never "
            "to replace it"
        )
