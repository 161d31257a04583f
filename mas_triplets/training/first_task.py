"""Beginning a run with the first task of another.

Before its first task has ended, a method that only holds what earlier tasks taught has nothing to hold: finetune, l2
and MAS learn that task alike, bit for bit, at any strength. Learnt once, it serves all of them.
"""

from __future__ import annotations

import json
from typing import Any

from mas_triplets.config import RunConfig, flat_values
from mas_triplets.errors import UserError
from mas_triplets.lifelong import first_task_is_plain
from mas_triplets.model.tensors import read_tensors
from mas_triplets.training.log import RunLog
from mas_triplets.training.run_folder import FINGERPRINTS, RunFolder
from mas_triplets.training.state import TrainingState


def check_shares_first_task(config: RunConfig, record: dict[str, Any], source: RunFolder) -> None:
    """Check that the run of `config` would learn its first task just as `source` has.

    Args:
        config: of the run that begins.
        record: its run.json.
        source: the run to begin with.

    Raises:
        UserError: a method acts within the first task, the runs differ in anything but `lifelong`, or `source` has not
            finished its first task.
    """
    for one in (config, source.config):
        if not first_task_is_plain(one.lifelong):
            raise UserError(f"'{one.lifelong.strategy}' does not learn its first task as finetune does: train it alone")
    mine, theirs = (flat_values(node) for node in (config, source.config))
    differ = [key for key in mine if mine[key] != theirs[key] and not key.startswith(("lifelong.", "evaluation."))]
    differ += [key for key in (*FINGERPRINTS, "threads") if record[key] != source.record.get(key)]
    if differ:
        raise UserError(f"{source.path} cannot lend its first task: it has another {', '.join(differ)}")
    if source.stages < 1:
        raise UserError(f"{source.path} has not finished its first task: go on with it first")


def take_first_task(state: TrainingState, source: RunFolder, log: RunLog) -> None:
    """Give the model the weights `source` had after its first task, and `log` the records of learning it."""
    tensors = read_tensors(source.task_folder(1) / "model.safetensors", "weights")
    state.model.load_own_tensors(tensors)
    state.model.eval()
    for line in (source.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("task") == 1:
            state.steps = record.pop("step")
            log.add(state.steps, record)
