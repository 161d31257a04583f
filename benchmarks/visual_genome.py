"""`prepare visual-genome` on made-up files of the official format, at the official size: time, memory, rate.

python -m benchmarks.visual_genome --folder /tmp/vg            relationships alone, 108,077 pictures and 2.3 million
python -m benchmarks.visual_genome --folder /tmp/vg --all      with 3.8 million objects and 2.8 million attributes

The files are written once and used again. The command runs as a process of its own that is held to one core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PICTURES, RELATIONSHIPS, OBJECTS, ATTRIBUTES = 108_077, 2_300_000, 3_800_000, 2_800_000
NAMES, PREDICATES, QUALITIES = 34_000, 42_000, 68_000  # distinct words, as Visual Genome's authors count them


class Words:
    """Words drawn as people use them: the n-th is seen n ** -steep as often as the first."""

    def __init__(self, stem: str, count: int, steep: float, chance: np.random.Generator) -> None:
        weights = np.arange(1, count + 1) ** -steep
        self._ends = np.cumsum(weights / weights.sum())
        self._words = [f"{stem} {number}" if number % 3 else f"{stem.title()}{number}" for number in range(count)]
        self._chance = chance

    def draw(self, count: int) -> list[str]:
        """Return `count` words."""
        places = np.searchsorted(self._ends, self._chance.random(count))
        return [self._words[min(place, len(self._words) - 1)] for place in places.tolist()]


def counts(total: int, pictures: int, chance: np.random.Generator) -> list[int]:
    """Return how many of `total` records each picture has: few in most, many in some."""
    return [int(count) for count in chance.multinomial(total, chance.dirichlet(np.full(pictures, 2.0)))]


def write(folder: Path, pictures: int, share: float, everything: bool, seed: int) -> None:
    """Write image_data.json and relationships.json, and with `everything` objects.json and attributes.json."""
    chance = np.random.default_rng(seed)
    names, predicates = Words("thing", NAMES, 1.2, chance), Words("does", PREDICATES, 1.5, chance)
    qualities = Words("kind", QUALITIES, 1.2, chance)
    folder.mkdir(parents=True, exist_ok=True)
    with _Listed(folder / "image_data.json") as images:
        for image in range(1, pictures + 1):
            url = f"https://cs.stanford.edu/people/rak248/VG_100K_2/{image}.jpg"
            sides = {"width": 800, "height": 600}
            images.add({"image_id": image, "url": url, **sides, "coco_id": None, "flickr_id": None})

    def thing(number: int, name: str, box: list[int]) -> dict[str, object]:
        x, y, w, h = box
        key = "names" if number % 4 else "name"  # both are in the official files
        word: object = [name] if number % 4 else name
        return {"object_id": number, "synsets": ["thing.n.01"], key: word, "x": x, "y": y, "w": w, "h": h}

    def boxes(count: int) -> list[list[int]]:
        placed = np.column_stack([chance.integers(0, 500, (count, 2)), chance.integers(2, 300, (count, 2))])
        return [[int(side) for side in box] for box in placed.tolist()]

    with _Listed(folder / "relationships.json") as file:
        number = 0
        for image, count in enumerate(counts(round(RELATIONSHIPS * share), pictures, chance), 1):
            called, done, placed = names.draw(2 * count), predicates.draw(count), boxes(2 * count)
            records = []
            for place in range(count):
                number += 1
                ends = [thing(2 * number + end, called[2 * place + end], placed[2 * place + end]) for end in (0, 1)]
                records.append(
                    {
                        "predicate": done[place],
                        "object": ends[1],
                        "relationship_id": number,
                        "synsets": ["along.r.01"],
                        "subject": ends[0],
                    }
                )
            file.add({"image_id": image, "relationships": records})
    if not everything:
        return
    for kind, total in (("objects", OBJECTS), ("attributes", ATTRIBUTES)):
        with _Listed(folder / f"{kind}.json") as file:
            for image, count in enumerate(counts(round(total * share), pictures, chance), 1):
                called, placed, given = names.draw(count), boxes(count), qualities.draw(count)
                records = [thing(4 * place + 1, called[place], placed[place]) for place in range(count)]
                if kind == "attributes":
                    records = [{**record, "attributes": [word]} for record, word in zip(records, given, strict=True)]
                file.add({"image_id": image, kind: records})


class _Listed:
    """A JSON list on disk that grows by one record at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._before = "["

    def __enter__(self) -> _Listed:
        return self

    def add(self, record: object) -> None:
        self._file.write(self._before + json.dumps(record))
        self._before = ", "

    def __exit__(self, *_: object) -> None:
        self._file.write("]")
        self._file.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files if they are not there, prepare them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the files are written and kept")
    parser.add_argument("--all", action="store_true", help="objects and attributes too")
    parser.add_argument("--share", type=float, default=1.0, help="a smaller size, as a share of the official one")
    given = parser.parse_args(arguments)
    files = given.folder / f"{'all' if given.all else 'relationships'}-{given.share:g}"
    if not (files / "done").is_file():
        write(files, max(1, round(PICTURES * given.share)), given.share, given.all, seed=0)
        (files / "done").touch()
    out = given.folder / "prepared"
    shutil.rmtree(out, ignore_errors=True)
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "mas_triplets", "prepare", "visual-genome", str(files), "--out", str(out)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    started = time.monotonic()
    subprocess.run(command, env={**os.environ, **one}, preexec_fn=lambda: os.sched_setaffinity(0, {core}), check=True)
    wall = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    records = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["counts"]["instances"]
    size = sum(file.stat().st_size for file in files.iterdir())
    print(
        f"{sum(records.values()):,} instances from {size / 1e6:,.0f} MB in {wall:.0f} s ({seconds:.0f} s of one core)"
    )
    print(f"{sum(records.values()) / wall:,.0f} a second; at most {used.ru_maxrss / 1e6:.2f} GB of memory")


if __name__ == "__main__":
    main()
