"""Training a run: the tasks of a split one after another, each finished task safe on disk before the next begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mas_triplets.config import RunConfig, flat_values
from mas_triplets.data.format import PARTS
from mas_triplets.data.items import Items, items_of
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.splits import Split, read_split
from mas_triplets.errors import UserError
from mas_triplets.files import write_json, write_text
from mas_triplets.lifelong import Strategy, make_strategy
from mas_triplets.model.inputs import ItemInputs, item_inputs
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.losses import Loss, make_loss
from mas_triplets.model.text_encoders import make_text_encoder
from mas_triplets.model.triplet import TripletModel, make_model
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads
from mas_triplets.training.first_task import check_shares_first_task, take_first_task
from mas_triplets.training.fit import StageData, fit_stage
from mas_triplets.training.log import RunLog
from mas_triplets.training.run_folder import FINGERPRINTS, RunFolder, new_record
from mas_triplets.training.state import TrainingState

Resume = Literal["auto", "never"]


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

    Args:
        config: the configuration.
        out: folder of the run.
        resume: `auto` goes on after the last finished task of the same run; `never` starts anew.
        first_task: a run, equal but for its method, whose first task is taken instead of learnt once more. The result
            is the same, bit for bit.
        until: stop when this many tasks are learnt, and leave the run to be gone on with; None learns all.
        progress: who is told how far it is.

    Raises:
        UserError: a name in the configuration is unknown, the data set or split does not fit, a fact has no training
            picture, `out` holds another run, or `first_task` does not fit.
    """
    out = Path(out)
    strategy, loss = make_strategy(config.lifelong), make_loss(config.loss)
    dataset = PreparedDataset.open(config.data.path)
    dataset.check_has_pictures()
    split = read_split(dataset, config.data.split)
    items = items_of(dataset, config.data.region)
    stages = _stages(split, strategy)
    _check_training_items(config, dataset, items, split)
    with limited_threads(config.train.threads):
        language = LanguageTable.build(dataset.words, make_text_encoder(config.model.text))
        model = make_model(config.model, language, config.seed).to(_device(config.train.device))
        inputs = item_inputs(model, dataset, items, config.data.cache, progress)  # before an old run is given up
        record = new_record(config, dataset, split, model)
        if first_task is not None:
            check_shares_first_task(config, record, first_task)
        run = _open_run(out, config, record, model, resume)
        if language.unknown:
            names = ", ".join(language.unknown[:5])
            progress.note(
                f"{len(language.unknown)} words unknown to {language.encoder.name} get made-up vectors: {names}"
            )
        data = [_stage_data(config, items, np.array(facts), dataset, model) for facts in stages]
        state = TrainingState(model, strategy)
        if (out / "checkpoint" / "state.json").is_file():
            state.load(out / "checkpoint")
            if run.stages < state.stage:
                raise UserError(f"{out / 'tasks'} lacks finished tasks: start the run again with --resume never")
        else:
            if model.takes_features:
                model.standardise_features(torch.cat(list(inputs.batches(data[0].items))))
            run.write_stage(0, model, {}, {})
            state.save(out / "checkpoint")
        last = len(data) if until is None else min(until, len(data))
        with RunLog(out) as log:
            if first_task is not None and state.stage == 0 and last > 0:
                take_first_task(model, first_task, log)
                _end_stage(run, state, data[0], inputs, stage=1)
            todo = data[:last]
            steps = sum(part.steps(config.train) for part in todo[state.stage :])
            work = _learn(config, run, state, todo, inputs, loss, log)
            for _ in progress.track(work, f"training {config.lifelong.strategy}", steps):
                pass
    if state.stage == len(data):
        run.write_record({**run.record, "state": "finished"})
    return run


def _stages(split: Split, strategy: Strategy) -> list[tuple[int, ...]]:
    if strategy.merges_tasks:
        return [tuple(sorted(fact for task in split.tasks for fact in task.fact_ids))]
    return [task.fact_ids for task in split.tasks]


def _learn(
    config: RunConfig,
    run: RunFolder,
    state: TrainingState,
    data: list[StageData],
    inputs: ItemInputs,
    loss: Loss,
    log: RunLog,
) -> Iterator[None]:
    model, strategy = state.model, state.strategy
    for stage in range(state.stage + 1, len(data) + 1):
        part = data[stage - 1]

        def on_epoch(epoch: int, record: dict[str, Any], stage: int = stage) -> None:
            log.add((stage - 1) * config.train.epochs + epoch, {"task": stage, **record})

        yield from fit_stage(
            model, strategy, loss, inputs, part, config.train, seed=config.seed, stage=stage, on_epoch=on_epoch
        )

        _end_stage(run, state, part, inputs, stage)


def _end_stage(run: RunFolder, state: TrainingState, part: StageData, inputs: ItemInputs, stage: int) -> None:
    about = state.strategy.after_task(state.model, lambda: inputs.batches(part.items))
    run.write_stage(stage, state.model, state.strategy.importance(), about)
    state.stage = stage
    state.save(run.path / "checkpoint")


def _stage_data(
    config: RunConfig, items: Items, fact_ids: IntArray, dataset: PreparedDataset, model: TripletModel
) -> StageData:
    chosen = items.select(config.data.train_parts, fact_ids)
    vectors, mask = model.language.embed([dataset.facts[fact] for fact in fact_ids])
    device = next(model.parameters()).device
    return StageData(chosen, items.labels(chosen, fact_ids), vectors.to(device), mask.to(device))


def _check_training_items(config: RunConfig, dataset: PreparedDataset, items: Items, split: Split) -> None:
    seen = items.pair_fact[
        np.isin(items.part[items.pair_item], [PARTS.index(part) for part in config.data.train_parts])
    ]
    counts = np.bincount(seen, minlength=len(dataset.facts))
    unseen = [str(dataset.facts[fact]) for fact in np.flatnonzero(counts == 0)]
    if unseen and config.data.unseen_facts == "error":
        raise UserError(
            f"{len(unseen)} facts of {dataset.folder} have no picture in {' or '.join(config.data.train_parts)}, "
            f"such as {', '.join(unseen[:3])}: add pictures of them, or set data.unseen_facts=allow to learn the "
            "others and judge these as unseen"
        )
    for task in split.tasks:
        if not counts[list(task.fact_ids)].any():
            raise UserError(f"{task.name} of split '{split.name}' has no training picture at all: make another split")


_FIRST_FILES = frozenset({"config.yaml", "language.json", "language.safetensors"})
"""What is written before run.json: a folder with nothing else is a run that was stopped as it began."""


def _open_run(out: Path, config: RunConfig, record: dict[str, Any], model: TripletModel, resume: Resume) -> RunFolder:
    if (out / "run.json").is_file():
        if resume == "auto":
            run = RunFolder(out)
            _check_same(run, config, record)
            return run
        for name in ("checkpoint", "tasks", "tensorboard"):  # without its checkpoint nothing goes on from the rest
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("log.jsonl", "results.json", "report.html", "run.json"):
            (out / name).unlink(missing_ok=True)
    elif out.exists() and (not out.is_dir() or any(path.name not in _FIRST_FILES for path in out.iterdir())):
        raise UserError(f"{out} exists and is not a run: choose another --out, nothing was written")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.yaml", config.to_yaml())
    model.language.save(out)
    write_json(out / "run.json", record)
    return RunFolder(out)


def _check_same(run: RunFolder, config: RunConfig, record: dict[str, Any]) -> None:
    mine, theirs = (flat_values(node) for node in (config, run.config))
    changed = [f"{key} ({theirs[key]!r} there, {mine[key]!r} here)" for key in mine if mine[key] != theirs[key]]
    changed += [key for key in FINGERPRINTS if run.record.get(key) != record[key]]
    if changed:
        raise UserError(
            f"{run.path} holds a run with another {', '.join(changed)}: choose another --out, or pass --resume never "
            "to replace it"
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"train.device is '{name}': write cpu, cuda, cuda:1, or auto") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"train.device is '{name}': write cpu, cuda, cuda:1, or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"train.device is '{name}', but PyTorch sees {torch.cuda.device_count()} GPUs: set cpu or auto")
    return device
