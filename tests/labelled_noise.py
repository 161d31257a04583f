"""Prepared data sets of noise pictures with any labels, for tests of what is made of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.facts import Fact


def labelled_noise(
    folder: Path, pictures: Sequence[tuple[str, Sequence[str]]], tasks: Sequence[Sequence[str]]
) -> PreparedDataset:
    """Write folder/data with one picture of noise for each (part, facts) and the split `two`, or more, of `tasks`.

    Facts are written as text, such as "<dog, chase>".
    """
    generator = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    builder = DatasetBuilder("noise")
    for number, (part, facts) in enumerate(pictures):
        path = folder / "pictures" / f"{number:03d}.png"
        Image.fromarray(generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(path)
        builder.add_image(path.stem, str(path), (20, 16), part)
        for fact in facts:
            builder.add_instance(path.stem, Fact.parse(fact), f"noise#{number}")
    dataset = PreparedDataset.open(builder.write(folder / "data"))
    number_of = {str(fact): fact_id for fact_id, fact in enumerate(dataset.facts)}
    groups = [np.array(sorted(number_of[fact] for fact in task)) for task in tasks]
    write_split(dataset, make_split("two", "random", 0, {}, groups))
    return dataset
