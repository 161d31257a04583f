"""A tiny prepared data set of noise pictures and a tiny run on it, for tests that need real ones. Takes about a second.

`small_data(folder)` writes folder/data, `small_run(folder)` trains folder/run on it; both are the same every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mas_triplets.config import make_config
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.facts import Fact
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

FACTS = (
    Fact("person"),
    Fact("dog"),
    Fact("person", "ride"),
    Fact("dog", "chase"),
    Fact("person", "ride", "horse"),
    Fact("dog", "chase", "cat"),
)
"""The facts of the small data set, two of each order, each in a quarter of the pictures or more of every part."""


def small_data(folder: Path, *, pictures: int = 24, seed: int = 0) -> PreparedDataset:
    """Write `pictures` PNGs of noise, 20 x 16 pixels, as the data set folder/data with the split `two` of two tasks.

    Picture i is about a person (even) or a dog (odd); parts go round train, train, val, test by pairs. Facts of two
    and three slots have boxes, those of one slot hold for the whole picture.
    """
    generator = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    builder = DatasetBuilder("small")
    for number in range(pictures):
        path = folder / "pictures" / f"{number:03d}.png"
        Image.fromarray(generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(path)
        builder.add_image(path.stem, str(path), (20, 16), ("train", "train", "val", "test")[number // 2 % 4])
        for fact in FACTS[number % 2 :: 2]:
            subject, thing = (None, None) if fact.order == 1 else ((2.0, 3.0, 10.0, 12.0), (8.0, 1.0, 19.0, 9.0))
            builder.add_instance(
                path.stem,
                fact,
                f"small#{number}",
                subject_box=subject,
                object_box=thing if fact.order == 3 else None,
            )
    dataset = PreparedDataset.open(builder.write(folder / "data"))
    write_split(dataset, make_split("two", "random", seed, {}, random_split(dataset.facts, 2, seed)))
    return dataset


def small_config(folder: Path, **settings: Any) -> dict[str, Any]:
    """Return the plain tree of a tiny configuration for folder/data; `settings` are dotted keys with `__` for `.`."""
    tree: dict[str, Any] = {
        "data": {"path": str(folder / "data"), "split": "two", "workers": 0},
        "model": {
            "image": {"name": "cnn", "size": 16, "channels": [4, 8]},
            "text": {"name": "random", "dim": 5},
            "hidden": [12],
        },
        "train": {"epochs": 1, "batch_size": 8, "threads": 1, "device": "cpu"},
    }
    for key, value in settings.items():
        *parents, last = key.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = dict(value) if isinstance(value, Mapping) else value
    return tree


def small_run(folder: Path, name: str = "run", **settings: Any) -> RunFolder:
    """Train folder/NAME on folder/data, written if it is not there: `small_run(tmp, model__score="euclidean")`."""
    if not (folder / "data").exists():
        small_data(folder)
    return train(make_config(small_config(folder, **settings)), folder / name, resume="never")
