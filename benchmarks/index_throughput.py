"""How fast `index` embeds a folder of pictures, against the encoder alone and decoding alone, in one run.

    python -m benchmarks.index_throughput [--pictures 512] [--threads 1] [--encoder packaged] [--cpu-time] [--json]

Photographs of 500 x 375 pixels are made up and saved as JPEG. A run with the encoder is trained for a moment, then by
turns, the least of `--repeats` counting:

- index: `build_index` on the folder, from finding the pictures to opening what was written;
- encoder: the model on the same pixels, decoded beforehand, in batches of `--batch`, on `--threads` threads;
- decoding: reading and resizing the same pictures in the threads that `index` uses, nothing else.

Ratios are to the encoder alone. The process is held to `--cores` processors: with more of them than `--threads`,
decoding can hide behind the encoder; with as many, both share them, and the least to be had is the sum of both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.feature_cache import config_for, made_up
from mas_triplets.config import make_config
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.pictures import decoded, pictures_of
from mas_triplets.training.run import train


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--images", type=Path, help="a folder of your own pictures instead of made-up ones")
    parser.add_argument("--encoder", default="packaged", help="packaged, or a name of torchvision such as resnet18")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--cores", type=int, default=2, help="processors that the process may use")
    parser.add_argument("--batch", type=int, default=16, help="pictures a batch of the encoder alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="processor time of all threads instead of wall time")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as place:
        row = measure(Path(place), given, clock)
    if given.json:
        print(json.dumps({**vars(given), "images": str(given.images or ""), "torch": torch.__version__, **row}))
        return
    print("| encoder | pictures | cores | threads | encoder, /s | decoding | index | index, /s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    cells = [given.encoder, row["pictures"], given.cores, given.threads, f"{row['encoder_per_s']:.1f}"]
    cells += [f"{row['decoding']:.3f}", f"{row['index']:.3f}", f"{row['encoder_per_s'] / row['index']:.1f}"]
    print(f"| {' | '.join(map(str, cells))} |")


def measure(place: Path, given: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Any]:
    """Time the three by turns."""
    (place / "learnt").mkdir()
    dataset = made_up(place / "learnt", 16)
    made_up(place, given.pictures)
    brief: dict[str, Any] = {"threads": given.threads, "epochs": 1}
    config = config_for(dataset, given.encoder, 0, "float32").model_dump(mode="json")
    write_split(dataset, make_split("none", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    run = train(make_config({**config, "train": {**config["train"], **brief}}), place / "run")
    torch.set_num_threads(given.threads)
    pictures = pictures_of(run, given.images or place / "pictures")
    model = run.load_model(run.stages)
    pixels = np.stack([one for found in decoded(pictures, model.encoder.view) for one in found.pixels])

    def encode() -> None:
        with torch.inference_mode():
            for start in range(0, len(pixels), given.batch):
                model(torch.from_numpy(pixels[start : start + given.batch]))

    ways: dict[str, Callable[[], object]] = {
        "encoder": encode,
        "decoding": lambda: sum(1 for _ in decoded(pictures, model.encoder.view)),
        "index": lambda: build_index(run, place / "index", pictures.place),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(given.repeats):
        for name, work in ways.items():
            start = clock()
            work()
            least[name] = min(least[name], clock() - start)
    ratios = {name: seconds / least["encoder"] for name, seconds in least.items() if name != "encoder"}
    return {"pictures": len(pixels), "encoder_per_s": len(pixels) / least["encoder"], **ratios}


if __name__ == "__main__":
    main()
