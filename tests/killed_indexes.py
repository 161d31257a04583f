"""Changes a small index again and again, killing the process that does it at random moments.

    python killed_indexes.py FOLDER KILLS SEED

A program of its own, so that it can fork. FOLDER holds run, index, and more (pictures to add); another child reads the
index all the while. Prints a JSON object: how often a kill landed within a change, and what was read.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from mas_triplets.errors import UserError
from mas_triplets.retrieval.growing import add_pictures, remove_pictures
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.refreshing import refresh_index


def child(work: Callable[[], object]) -> int:
    """Do work in a child that ends with 1 if it fails, and return its number."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return number


def read_on(folder: Path) -> None:
    """Open and ask the index until the file `enough` is there; note each number of rows that was read."""
    seen = []
    parent = os.getppid()
    while not (folder / "enough").exists() and os.getppid() == parent:
        index = FactIndex.open(folder / "index", as_is=True)
        hits = index.search("<person, ride, *>", 100)
        assert len(hits) == min(100, len(index)) == len({hit.row for hit in hits})
        assert index.exact.ntotal == len(index) == index.faiss.ntotal
        seen.append(len(index))
        time.sleep(0.05)  # the others need the processors too
    (folder / "seen.json").write_text(json.dumps(seen))


def main(folder: Path, kills: int, seed: int) -> None:
    """Change the index: add, refresh, remove in turn, each killed after a time that is drawn anew."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(seed)
    index, more = folder / "index", folder / "more"

    def remove() -> None:
        with suppress(UserError):  # the one that was killed had just done it
            remove_pictures(index, more)

    changes = [lambda: add_pictures(index, more), lambda: refresh_index(index), remove]
    before = len(FactIndex.open(index, as_is=True))
    reader = child(lambda: read_on(folder))
    landed, finished, turn, longest = 0, 0, 0, 0.2
    found = {before}
    deadline = time.monotonic() + 120
    while landed < kills and time.monotonic() < deadline:
        started = time.monotonic()
        worker = child(lambda: changes[turn % 3]())  # noqa: B023 - it is forked at once
        ended, status = 0, 0
        limit = generator.uniform(0, longest)
        while not ended and time.monotonic() - started < limit:
            ended, status = os.waitpid(worker, os.WNOHANG)
            time.sleep(0.0005)
        if ended:
            if status:
                raise SystemExit(f"change {turn % 3} ended with {status}")
            longest = max(0.02, 0.8 * longest)
            finished += 1
            turn += 1
            continue
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        landed += 1
        longest *= 1.2
        opened = FactIndex.open(index, as_is=True)
        found.add(len(opened))
        assert len(opened) in (before, before + len(list(more.iterdir()))), len(opened)
        if landed % 3 == 0:  # a change that is never finished would keep the others from their turn
            changes[turn % 3]()
            turn += 1
            found.add(len(FactIndex.open(index, as_is=True)))
    (folder / "enough").touch()
    _, status = os.waitpid(reader, 0)
    if status:
        raise SystemExit("the reader failed")
    left = [path.name for path in folder.iterdir() if path.name.startswith(".index") and path.is_dir()]
    add_pictures(index, more)
    refresh_index(index)
    shutil.rmtree(more)
    print(
        json.dumps(
            {
                "landed": landed,
                "found": sorted(found),
                "finished": finished,
                "left": left,
                "seen": json.loads((folder / "seen.json").read_text()),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
