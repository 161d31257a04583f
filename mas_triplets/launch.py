"""Starting as many processes as `accelerate launch` was asked for.

On a machine without GPUs `accelerate launch --num_processes 2` starts one process, without a word: only its launchers
for GPUs and clusters start more. Whoever asks for two gets two here: the one process becomes PyTorch's own launcher,
with the same command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_MARK = "ACCELERATE_MIXED_PRECISION"  # in the environment of whatever `accelerate launch` starts


def processes_asked_for(command: Sequence[str]) -> int:
    """Return N of `--num_processes N` in the command line of a launcher; 1 if it does not say.

    Example: `["accelerate", "launch", "--num-processes=3", "-m", "mas_triplets"]` gives 3.
    """
    for place, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            text = value if equals else command[place + 1] if place + 1 < len(command) else ""
            return int(text) if text.isdecimal() else 1
    return 1


def launched_alone() -> int:
    """Return how many processes should be started in place of this one: 1 if all is as it should be."""
    if _MARK not in os.environ or "WORLD_SIZE" in os.environ or sys.argv[1:2] != ["train"]:
        return 1
    import psutil

    parent = psutil.Process().parent()
    return 1 if parent is None else processes_asked_for(parent.cmdline())


def become_launcher(processes: int) -> None:
    """Replace this process by PyTorch's launcher, which starts this command in so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "mas_triplets", *sys.argv[1:]])
