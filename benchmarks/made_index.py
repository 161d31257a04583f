"""Indexes of rows that are made up as trained embeddings lie: near the words of facts, some facts far more often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mas_triplets.config import make_config
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.facts import Fact
from mas_triplets.retrieval.assemble import Wanted
from mas_triplets.retrieval.build import Filler, write_index
from mas_triplets.retrieval.embed import Block
from mas_triplets.retrieval.record import PicturesRecord
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

NOUNS, VERBS = 200, 40
_NOISE = 0.1  # a number; with 128 numbers a slot's cosine to its word is then about 0.66
_BLOCK = 8_192
_FACTS = 400


def made_up_facts() -> list[Fact]:
    """Return 400 facts of three slots, with their shorter ones."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, (NOUNS, VERBS, NOUNS), (_FACTS, 3)).tolist()
    full = [Fact(f"noun{subject}", f"verb{verb}", f"noun{thing}") for subject, verb, thing in drawn]
    return list(dict.fromkeys([*full, *(Fact(f.subject, f.predicate) for f in full), *(Fact(f.subject) for f in full)]))


def tiny_run(folder: Path, dim: int) -> RunFolder:
    """Train a small network on a few pictures of noise: what matters is its vocabulary of `dim` numbers a word."""
    generator = np.random.default_rng(0)
    builder = DatasetBuilder("made up")
    facts = made_up_facts()
    for number in range(20):
        path = folder / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        builder.add_image(path.stem, str(path), (16, 16), ("train", "train", "train", "val", "test")[number % 5])
        for fact in facts if number % 5 < 3 else facts[:5]:
            builder.add_instance(path.stem, fact, f"made up#{number}")
    dataset = PreparedDataset.open(builder.write(folder / "data"))
    write_split(dataset, make_split("one", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    config = {
        "data": {"path": str(folder / "data"), "split": "one", "workers": 0},
        "model": {
            "image": {"name": "cnn", "size": 16, "channels": [4]},
            "text": {"name": "random", "dim": dim},
            "hidden": [8],
        },
        "train": {"epochs": 1, "batch_size": 8, "device": "cpu", "threads": 1},
    }
    return train(make_config(config), folder / "run", resume="never")


def made_up_rows(run: RunFolder, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield rows in blocks: a fact's words with noise, of unit length a slot; fact i comes as often as 1 / i."""
    generator = np.random.default_rng(1)
    vectors, _ = run.language.embed([fact for fact in made_up_facts() if fact.order == 3])
    words = vectors.numpy()
    often = 1 / np.arange(1, len(words) + 1)
    for start in range(0, count, _BLOCK):
        rows = words[generator.choice(len(words), min(_BLOCK, count - start), p=often / often.sum())]
        rows = rows + np.float32(_NOISE) * generator.standard_normal(rows.shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
        yield rows.reshape(len(rows), -1)


def made_up_index(run: RunFolder, out: Path, count: int, wanted: Wanted) -> None:
    """Write an index of made up rows, as if the run's model had embedded pictures that do not exist."""

    def blocks() -> Iterator[Block]:
        first = 0
        for rows in made_up_rows(run, count):
            numbers = range(first, first + len(rows))
            names = [f"/pictures/{number:08d}.jpg" for number in numbers]
            contents = [number.to_bytes(32) for number in numbers]
            yield Block(rows, names, [(640, 480)] * len(rows), [None] * len(rows), contents)
            first += len(rows)

    about = PicturesRecord(place="/pictures", kind="folder", region="image", own=False, pictures=count, skipped=0)
    write_index(Filler.of(run), out, blocks(), lambda: about, wanted)
