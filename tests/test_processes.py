"""Two real processes learn what one does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_run import small_config, small_data

from mas_triplets.config import make_config
from mas_triplets.launch import processes_asked_for
from mas_triplets.training.processes import Processes
from mas_triplets.training.run import train

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--num_processes", "2"]
PROGRAM = ["-m", "mas_triplets"]

CASES: dict[str, dict[str, Any]] = {
    # 12 training pictures a task or fewer, batches of 5: the last one has an odd number, or a single picture
    "contrastive, proximal": {
        "lifelong__application": "proximal",
        "loss__name": "contrastive",
        "train__batch_size": 5,
        "train__epochs": 2,
    },
    "frozen encoder, euclidean": {
        "model__image__trainable": "none",
        "train__batch_size": 11,
        "lifelong__max_samples": 7,
        "train__epochs": 2,
    },
    # stored pairs in each share, the old model's pull divided by the new pictures of all shares
    "several methods": {
        "lifelong__strategy": "si+lwf+replay+averaging",
        "lifelong__memory": {"per_fact": 2, "share": 0.5},
        "lifelong__distillation": 3.0,
        "train__batch_size": 5,
        "train__epochs": 2,
    },
}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def launch(
    command: list[str], folder: Path, tree: dict[str, Any], out: str, *more: str
) -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    arguments = ["train", str(folder / "config.yaml"), "--out", str(folder / out), *more]
    command = [sys.executable, *command, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=False)


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def close(one: Path, other: Path, file: str, relative: float) -> None:
    first, second = load_file(one / file), load_file(other / file)
    assert first.keys() == second.keys()
    for name, value in first.items():
        scale = float(value.abs().max())
        assert float((value - second[name]).abs().max()) <= relative * scale + 1e-9, name


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_omega_and_losses_of_one(tmp_path: Path, case: str) -> None:
    small_data(tmp_path)
    tree = small_config(tmp_path, **{"lifelong__strategy": "mas", "train__log_steps": 1, **CASES[case]})
    one = train(make_config(tree), tmp_path / "one")
    done = launch(
        [*(ACCELERATE if case.startswith("contrastive") else TORCHRUN), *PROGRAM], tmp_path, tree, "two", "--json"
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)  # once: only the first process prints
    two = tmp_path / "two"
    record = json.loads((two / "run.json").read_text())
    assert (record["processes"], record["state"]) == (2, "finished")
    np.testing.assert_allclose(np.array(losses(one.path)), np.array(losses(two)), rtol=1e-5)
    for task in ("01", "02"):
        close(one.path, two, f"tasks/{task}/importance.safetensors", 1e-5)
        close(one.path, two, f"tasks/{task}/model.safetensors", 1e-4)
        memory = [run / "tasks" / task / "memory.json" for run in (one.path, two)]
        assert [path.is_file() for path in memory] == 2 * ["replay" in tree["lifelong"]["strategy"]]
        assert len({path.read_text() for path in memory if path.is_file()}) <= 1
    assert printed["all"] == pytest.approx(json.loads((two / "results.json").read_text())["all"])


def test_two_processes_resume_to_the_same_bits(tmp_path: Path) -> None:
    small_data(tmp_path)
    settings = {**CASES["contrastive, proximal"], "model__input_dropout": 0.5, "train__batch_size": 3}
    tree = small_config(tmp_path, lifelong__strategy="mas", **settings)
    assert launch([*TORCHRUN, *PROGRAM], tmp_path, tree, "whole").returncode == 0
    stopping = launch([*TORCHRUN, str(Path(__file__).parent / "stopping_run.py")], tmp_path, tree, "stopped")
    # by then the signal of the one has been noticed by both: in the middle of an epoch of four steps
    assert re.search(r"stopped after step [23] of task 2", stopping.stderr), stopping.stderr
    assert launch([*TORCHRUN, *PROGRAM], tmp_path, tree, "stopped").returncode == 0
    for file in ("tasks/02/model.safetensors", "tasks/02/importance.safetensors", "results.json"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "stopped" / file).read_bytes()
    alone = launch(PROGRAM, tmp_path, tree, "stopped")
    assert alone.returncode == 2
    assert "number of processes (2 there, 1 here)" in alone.stderr


def test_one_process_shares_and_sums_nothing_away() -> None:
    alone = Processes(0, 1, torch.device("cpu"))
    rows = np.arange(7)
    np.testing.assert_array_equal(alone.share(rows), rows)
    assert float(alone.sum(torch.tensor(3.0))) == 3.0
    assert alone.any(True, False) == [True, False]
    shares = [Processes(rank, 3, torch.device("cpu")).share(rows).tolist() for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("command", "count"),
    [
        ("accelerate launch --num_processes 2 -m mas_triplets train", 2),
        ("accelerate launch --num-processes=3 -m mas_triplets train", 3),
        ("accelerate launch -m mas_triplets train --out --num_processes", 1),
        ("accelerate launch -m mas_triplets train", 1),
    ],
)
def test_processes_asked_for(command: str, count: int) -> None:
    assert processes_asked_for(command.split()) == count
