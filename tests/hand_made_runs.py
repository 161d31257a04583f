"""Run folders written by hand, without training: configuration, record, stages, results, importance and log."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from safetensors.torch import save_file

from mas_triplets.config import make_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.evaluation.protocol import DIRECTIONS, GALLERIES, POLICIES, StageScores
from mas_triplets.evaluation.results import Scores, collect
from mas_triplets.facts import Fact
from mas_triplets.files import write_json, write_text
from mas_triplets.training.run_folder import RunFolder

Matrix = list[list[float | None]]

R3: Matrix = [[0.75, 0.25, 0.0], [0.5, 0.75, 0.25], [0.25, 0.5, 1.0]]
"""The worked example of evaluation.lifelong: average 0.583, backward transfer -0.375, forgetting 0.375."""
NAMES = ["people", "animals", "things"]


def make_run(
    path: Path,
    R: Matrix = R3,
    *,
    strategy: str = "mas",
    seed: int = 0,
    part: str = "test",
    data: str = "d" * 64,
    split: str = "random",
    names: list[str] | None = None,
    settings: tuple[str, ...] = (),
    shift: float = 0.0,
    stages: int | None = None,
) -> RunFolder:
    """Write a run folder whose own-task mAP is R; every other metric is R times something, all from `collect`."""
    names = names or NAMES[: len(R)]
    chosen = ("data.path=gone", f"data.split={split}", f"lifelong.strategy={strategy}", f"seed={seed}")
    config = make_config({}, (*chosen, f"evaluation.part={part}", *settings))
    write_text(path / "config.yaml", config.to_yaml())
    versions = {"python": "3.11.9", "mas-triplets": "0.1.0", "torch": "2.6.0"}
    record = {
        "state": "finished",
        "data_fingerprint": data,
        "split_fingerprint": f"{split}-print",
        "versions": versions,
    }
    write_json(path / "run.json", record)
    learnt = (1 if strategy == "joint" else len(R)) if stages is None else stages
    for stage in range(learnt + 1):
        write_text(path / "tasks" / f"{stage:02d}" / "model.safetensors", "")
    rows = [R[-1]] if strategy == "joint" else R[:learnt]
    facts = (Fact("dog"), Fact("dog", "run"), Fact("dog", "chase", "cat"))
    dataset = cast(PreparedDataset, SimpleNamespace(name="hand-made", fingerprint=data, facts=facts))
    keys = [(d, g, p) for d in DIRECTIONS for g in GALLERIES for p in POLICIES]
    untrained: list[float | None] = [0.0, 0.0, 0.125, *([0.0] * len(R))]
    scores: Scores = {0: {key: _scores(key, untrained[: len(R)], 0.0) for key in keys if key[2] == "reembedded"}}
    for stage, row in enumerate(rows, 1):
        seen = len(R) if strategy == "joint" else stage
        so_far = row[:seen] + [None] * (len(R) - seen)
        scores[stage] = {
            key: _scores(key, row if key[1:] == ("standard", "reembedded") else so_far, shift) for key in keys
        }
    write_json(path / "results.json", collect(RunFolder(path), dataset, names, part, scores))
    return RunFolder(path)


def _scores(key: tuple[str, str, str], row: list[float | None], shift: float) -> StageScores:
    direction, gallery, policy = key
    factor = {"standard": 1.0, "generalized": 0.5}[gallery] * {"reembedded": 1.0, "kept": 0.25, "kept_random": 0.125}[
        policy
    ]
    names = list(DIRECTIONS[direction])
    values = {name: [None if v is None else v * factor / (1 + place) for v in row] for place, name in enumerate(names)}
    found: dict[str, float | None] = {name: factor / (2 + place) + shift for place, name in enumerate(names)}
    return StageScores(values, found if gallery == "generalized" else None, {0: 0.5, 1: 0.25, 2: 0.125})


def add_importance(run: RunFolder, stage: int, means: dict[str, float], sizes: dict[str, int]) -> None:
    """Write the importance of one stage."""
    tensors = {name: torch.full((sizes[name],), mean) for name, mean in means.items()}
    save_file(tensors, run.task_folder(stage) / "importance.safetensors")
    log = {
        name: {"mean": m, "max": 8 * m, "q0.1": 0.0, "q0.5": m / 2, "q0.9": 2 * m, "q0.99": 4 * m}
        for name, m in means.items()
    }
    write_json(run.task_folder(stage) / "importance.json", {"importance": log})


def add_log(run: RunFolder, tasks: int = 3, epochs: int = 2) -> None:
    """Write a training log."""
    lines = [
        {"step": t * epochs + e, "task": t + 1, "epoch": e + 1, "loss": 1.0 / (1 + e), "penalty": 0.125 * t,
         "learning_rate": 0.001, "images_per_second": 100.0}
        for t in range(tasks) for e in range(epochs)
    ]  # fmt: skip
    write_text(run.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
