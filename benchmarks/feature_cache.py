"""What a frozen encoder costs the first run on some pictures, and what every later one.

    python -m benchmarks.feature_cache [--pictures 400] [--encoder packaged] [--threads 1] [--json]

Photographs of 500 x 375 pixels are made up and saved as JPEG, as a prepared data set. Then in one process, each with
a model built anew as a run does: the first run decodes and encodes all, the second finds the features on disk, and so
does a run with another seed where the weights are given; the same with features of half precision. What is timed is
everything until all features of all pictures have been read once: decoding, encoding, looking for the cache,
fingerprints, reading.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mas_triplets.config import RunConfig, make_config
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.facts import Fact
from mas_triplets.model.inputs import item_inputs
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.model.triplet import make_model


def made_up(folder: Path, pictures: int) -> PreparedDataset:
    """Write so many JPEGs, smooth and noisy like photographs, and prepare them."""
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    builder = DatasetBuilder("made up")
    for number in range(pictures):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = coarse.resize((500, 375), Image.Resampling.BICUBIC)
        noisy = np.asarray(picture, dtype=np.int16) + random.integers(-20, 21, (375, 500, 3))
        path = folder / "pictures" / f"{number:05d}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        builder.add_image(path.stem, str(path), (500, 375), "train")
        builder.add_instance(path.stem, Fact(("person", "dog")[number % 2], "run"), f"made up#{number}")
    return PreparedDataset.open(builder.write(folder / "data"))


def config_for(dataset: PreparedDataset, encoder: str, seed: int, features: str) -> RunConfig:
    """Return the configuration of a run with a frozen encoder."""
    image: dict[str, Any] = {"name": encoder, "trainable": "none", "features": features}
    if encoder not in ("packaged", "cnn"):
        image = {**image, "name": "torchvision", "model": encoder, "weights": "none"}
    return make_config(
        {
            "seed": seed,
            "data": {"path": str(dataset.folder), "split": "none", "workers": 0},
            "model": {"image": image, "text": {"name": "random"}},
        }
    )


def read_all(dataset: PreparedDataset, config: RunConfig) -> float:
    """Return the seconds until a model has been fed every picture once; building it is not counted."""
    words = ("person", "dog", "run")
    model = make_model(config.model, LanguageTable.build(words, make_text_encoder(config.model.text)), config.seed)
    items = items_of(dataset, "image")
    began = time.perf_counter()
    inputs = item_inputs(model, dataset, items, config)
    count = sum(len(batch) for batch in inputs.inputs(np.arange(len(items))))
    assert count == len(items)
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--encoder", default="packaged", help="packaged, or a name of torchvision such as resnet50")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = made_up(Path(folder), given.pictures)
        for features in ("float32", "float16"):
            before = set((dataset.folder / "cache").glob("*.npy"))
            other = 1 if given.encoder == "packaged" else 0  # random weights are those of a seed
            runs = {"first run": 0, "second run": 0, "another seed" if other else "third run": other}
            times = [read_all(dataset, config_for(dataset, given.encoder, seed, features)) for seed in runs.values()]
            (made,) = set((dataset.folder / "cache").glob("*.npy")) - before
            for name, seconds in zip(runs, times, strict=True):
                share = seconds / times[0]
                rows.append({"features": features, "run": name, "seconds": seconds, "share": share})
            rows[-1]["bytes"] = made.stat().st_size
    if given.json:
        about = {"pictures": given.pictures, "encoder": given.encoder, "threads": given.threads}
        print(json.dumps({**about, "rows": rows}))
        return
    print(f"{given.pictures} pictures, {given.encoder}, {given.threads} threads, torch {torch.__version__}")
    print(f"{'features':<10}{'run':<16}{'seconds':>9}{'of the first':>14}{'bytes on disk':>15}")
    for row in rows:
        size = f"{row['bytes']:>15,}" if "bytes" in row else ""
        print(f"{row['features']:<10}{row['run']:<16}{row['seconds']:>9.3f}{row['share']:>14.2%}{size}")


if __name__ == "__main__":
    main()
