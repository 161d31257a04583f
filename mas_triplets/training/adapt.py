"""Adaptation: a run's importance measured anew, on pictures of where the model is used.

Aljundi et al., ECCV 2018: Omega needs no label, so any pictures serve. Measured on those of one's own use, it makes
later tasks preserve what matters there. The weights, and with them the anchor of the penalty, stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError, unknown
from mas_triplets.files import put_in_place, read_json, replacing, scratch_folder, storable, write_json
from mas_triplets.lifelong import Strategy, Task, make_strategy
from mas_triplets.lifelong.combined import Combined
from mas_triplets.lifelong.mas import MemoryAwareSynapses
from mas_triplets.lifelong.omega import describe, prepared
from mas_triplets.model.inputs import BATCH, ItemInputs
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads
from mas_triplets.training.checkpoints import Checkpoints
from mas_triplets.training.processes import device_here
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.state import DONE, TrainingState
from mas_triplets.training.unlabelled import Unlabelled, unlabelled

_WEIGHTS = {"replace": None, "add": 1.0, "average": 0.5}  # by mode, where none is given
_WHY_NOT = {
    "ewc": "its importance needs the labels of pictures",
    "si": "its importance is that of the steps of learning",
    "l2": "it holds every weight alike",
    "merging": "its importance says how much earlier tasks weigh, not what is held",
    "online-mas": "it measures on the stream it learns from",
}
_OF_THE_OLD = shutil.ignore_patterns("checkpoint", "results*.json", "report.html", ".*")  # not copied


def adapt(
    run: RunFolder | str | Path,
    images: Unlabelled | str | Path,
    out: str | Path,
    *,
    mode: str = "replace",
    weight: float | None = None,
    progress: Silent = SILENT,
) -> RunFolder:
    """Write a copy of a run in which importance is measured on other pictures, and return it.

    The model after the last finished task is used, with all the run's settings of how importance is measured and what
    becomes of it; for a folder of pictures the run's data set need not be there. `train` goes on from the copy with the
    next task, to the same bits each time. After several tasks the stored importance may be a sum over them
    (`lifelong.accumulate`); `replace` puts one measure in its place.

    Args:
        run: a run that has finished a task and stands at its end.
        images: a folder of pictures, or a prepared data set, of which the training part is taken; `unlabelled` chooses
            others.
        out: folder of the copy; nothing may be there. It is written whole or not at all. Weights are linked, not
            copied, where the file system can.
        mode: `replace` the stored importance, or `add` to it, or `average` with it: see `joined`.
        weight: of what is measured: 1 for `add` and 0.5 for `average` if None; `replace` has none.
        progress: who is told how far it is, and which pictures cannot be read.

    Raises:
        UserError: the method measures no importance on pictures alone, `run` is not at the end of a task, no picture
            can be read, or `out` is in use.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    config, out = run.config, Path(out)
    weight = _weight(mode, weight)
    strategy = make_strategy(config.lifelong)
    strategy.join(0, 1, None, config.seed)
    holder = _holder(strategy)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another --out, nothing was written")
    run.check_learnt()
    pictures = images if isinstance(images, Unlabelled) else unlabelled(Path(images), config.data.region)
    with limited_threads(config.train.threads):
        state = _at_the_end(run, strategy)
        inputs = pictures.inputs(state.model, config, run.record["data_fingerprint"], progress)
        batches = _batches(pictures, inputs, progress)
        omega = holder.measure(state.model, Task(state.stage, lambda: batches))
        measured = prepared(omega, config.lifelong, config.seed)
        held = holder.state_tensors()
        stored = {name: held[f"importance/{name}"] for name in measured}
        held |= {f"importance/{name}": value for name, value in joined(stored, measured, mode, weight).items()}
        holder.load_state_tensors(held)
    used, unreadable = _told(pictures, inputs, config.lifelong.max_samples, progress)
    about = {
        "run": _place(run.path),
        "model": run.model_fingerprint(state.stage),
        "after_task": state.stage,
        "images": _place(pictures.place),
        **pictures.choice,
        "pictures": len(np.unique(pictures.items.image[used])),
        "pictures_fingerprint": pictures.fingerprint(used),
        "unreadable": unreadable,
        "mode": mode,
        "weight": weight,
    }
    with scratch_folder(out) as scratch:
        _write(scratch, run, state, {name: describe(value) for name, value in omega.items()}, about)
        put_in_place(scratch, out)
    return RunFolder(out)


def joined(
    stored: Mapping[str, Tensor], measured: Mapping[str, Tensor], mode: str, weight: float | None
) -> dict[str, Tensor]:
    """Return the importance that is held from now on.

    replace: measured. add: stored + weight * measured. average: (1 - weight) * stored + weight * measured.

    Example: of {"a": [1, 3]} and {"a": [5, 1]} `add` with 2 makes {"a": [11, 5]}, `average` with 0.25 {"a": [2, 2.5]}.
    """
    if mode == "replace":
        return dict(measured)
    assert weight is not None
    if mode == "add":
        return {name: stored[name] + weight * value for name, value in measured.items()}
    return {name: torch.lerp(stored[name], value, weight) for name, value in measured.items()}


def _weight(mode: str, weight: float | None) -> float | None:
    if mode not in _WEIGHTS:
        raise unknown("mode", mode, _WEIGHTS)
    if weight is None:
        return _WEIGHTS[mode]
    if mode == "replace":
        raise UserError("a weight goes with the modes add and average: replace takes what is measured as it is")
    most = 1 if mode == "average" else 1e30
    if not 0 < weight <= most:
        raise UserError(f"the weight is {weight}: for {mode} it must be above 0 and at most {most:g}")
    return weight


def _holder(strategy: Strategy) -> MemoryAwareSynapses:
    """Return the part of a method that measures importance on pictures alone."""
    config = strategy.config
    parts = strategy.parts if isinstance(strategy, Combined) else (strategy,)
    found = next((part for part in parts if isinstance(part, MemoryAwareSynapses)), None)
    if found is None:
        why = next((_WHY_NOT[part.name] for part in parts if part.name in _WHY_NOT), "it has none")
        raise UserError(
            f"'{config.strategy}' cannot measure importance anew on unlabelled pictures: {why}. Take a run of "
            "lifelong.strategy=mas, or of mas joined with others"
        )
    for key, value, plain in (("output", config.output, "embedding"), ("balance", config.balance, "pictures")):
        if value != plain:
            raise UserError(
                f"the run measures with lifelong.{key}={value}, which needs facts or labels that unlabelled pictures "
                f"lack: train one with lifelong.{key}={plain}"
            )
    return found


def _at_the_end(run: RunFolder, strategy: Strategy) -> TrainingState:
    """Return where the run stands, which must be the end of its last task."""
    state = TrainingState(run.load_model(run.stages, device_here(run.config.train.device)), strategy)
    state.load(Checkpoints(run.path / "checkpoint"))
    if state.phase != DONE or state.stage != run.stages:
        raise UserError(
            f"{run.path} stands within task {max(1, state.stage)}: finish it with `mas-triplets train "
            f"{run.path / 'config.yaml'} --tasks {max(1, state.stage)} --out {run.path}`, then adapt"
        )
    return state


def _batches(pictures: Unlabelled, inputs: ItemInputs, progress: Silent) -> Iterator[Tensor]:
    """Yield what the model is fed of those that can be read.

    Raises:
        UserError: there is none.
    """
    count = 0
    batches = -(-len(pictures.chosen) // BATCH)
    for batch in progress.track(inputs.inputs(pictures.chosen), "measuring importance", batches):
        count += len(batch)
        yield batch
    if not count:
        reason = next(iter(inputs.unreadable.values()))
        raise UserError(f"none of the pictures of {pictures.place} can be read; the first: {reason}")


def _told(pictures: Unlabelled, inputs: ItemInputs, most: int | None, progress: Silent) -> tuple[IntArray, list[str]]:
    """Return the items that importance was measured on, and why others could not be read; say how many those are."""
    image = pictures.items.image[pictures.chosen]
    lost = [inputs.unreadable[number] for number in np.unique(image).tolist() if number in inputs.unreadable]
    if lost:
        progress.note(
            f"{len(lost):,} pictures cannot be read and are left out (listed in run.json); the first: {lost[0]}"
        )
    return pictures.chosen[~np.isin(image, list(inputs.unreadable))][:most], [storable(reason) for reason in lost]


def _place(path: Path) -> str:
    return storable(os.path.abspath(path))  # noqa: PTH100 - unlike resolve() it keeps links


def _write(
    folder: Path, run: RunFolder, state: TrainingState, measured: dict[str, dict[str, float]], about: dict[str, Any]
) -> None:
    """Write the copy of a run: what it has learnt as it was, importance and checkpoint anew.

    What evaluation wrote is left out, since the report shows importance; it is written again when the copy goes on.
    """
    shutil.copytree(run.path, folder, ignore=_OF_THE_OLD, copy_function=_link_or_copy, dirs_exist_ok=True)
    copy = RunFolder(folder)
    stage = copy.task_folder(state.stage)
    told = read_json(stage / "importance.json", "what a run tells of its importance")
    write_json(stage / "importance.json", {**told, "importance": measured})
    with replacing(stage / "importance.safetensors") as temporary:  # a link: the run's own stays as it is
        save_file({name: value.contiguous() for name, value in state.strategy.importance().items()}, temporary)
    state.save(Checkpoints(folder / "checkpoint"))
    copy.write_record({**run.record, "adapted": [*run.record.get("adapted", []), about]})


def _link_or_copy(source: str, target: str) -> None:
    """Link a file of tensors, which is only ever replaced; copy one that may be written on, or cannot be linked."""
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copy2(source, target)
