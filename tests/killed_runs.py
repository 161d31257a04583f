"""Trains a small run again and again, killing it at random moments, until enough kills have landed.

    python killed_runs.py FOLDER KILLS SEED

A program of its own, so that it can fork: each attempt starts in some milliseconds, with everything imported. FOLDER
holds config.yaml. Prints a JSON object: where each kill landed, and the folders of the runs that came to their end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
import torch._dynamo
import torch.utils.tensorboard.writer  # both here, so that no child spends its time on them

from mas_triplets.config import RunConfig, load_config
from mas_triplets.evaluation.run import evaluate
from mas_triplets.training.run import train


def attempt(config: RunConfig, out: Path, seconds: float | None) -> bool:
    """Train and evaluate in a child, killed after so many seconds; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            evaluate(train(config, out))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + (60 if seconds is None else seconds)
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status != 0:
                raise SystemExit(f"{out}: the attempt ended with {status}")
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def place(out: Path) -> str:
    """Return where a killed run stands."""
    names = sorted(path.name for path in (out / "checkpoint").glob("*")) if out.is_dir() else []
    writing = any(name.startswith(".") for name in names)
    whole = [name for name in names if not name.startswith(".")]
    return (whole[-1] if whole else "none") + (" writing" if writing else "")


def main() -> None:
    """Kill, go on, and tell."""
    home, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    config = load_config(home / "config.yaml")
    began = time.monotonic()
    if not attempt(config, home / "whole", None):
        raise SystemExit("the run that is not stopped did not end")
    whole = time.monotonic() - began
    random = np.random.default_rng(seed)
    landed: list[str] = []
    finished: list[str] = []
    number = 0
    while len(landed) < kills:
        out = home / f"killed{number}"
        while True:
            left = kills - len(landed)
            if attempt(config, out, random.uniform(0, whole) if left else None):
                finished.append(out.name)
                break
            landed.append(place(out))
        number += 1
    print(json.dumps({"seconds": whole, "landed": landed, "finished": finished}))


if __name__ == "__main__":
    main()
