"""Time the first and later queries of one process over an index of random clustered rows.

    python -m benchmarks.query_latency --rows 100000 --threads 2

An index folder of 3 x 128 numbers a row is written, for a tiny run that is trained first. Opening is what a process
pays once: files checked, run and model found. Then the same ways as `query --interactive` takes are timed: a line is
read, words are looked up, rows are searched, hits are made (nothing is printed). Later queries are all different. The
last column is the median time of a search with FAISS and nothing around it, taken right after.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from mas_triplets.config import make_config
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import sha256_of_file, write_json
from mas_triplets.retrieval.batch import BLOCK
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.free_words import embed_free_words
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.queries import Reader
from mas_triplets.retrieval.store import FACTS, ROWS, SCHEMA, IndexRecord, ModelRecord, PicturesRecord
from mas_triplets.retrieval.vocabulary import Vocabulary
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

DIM, NOUNS, VERBS, CLUSTERS = 128, 200, 40, 500


def facts() -> list[Fact]:
    """Return 200 facts of three slots, with their shorter ones."""
    full = [Fact(f"noun{n}", f"verb{n % VERBS}", f"noun{(7 * n + 3) % NOUNS}") for n in range(NOUNS)]
    return [*full, *(Fact(f.subject, f.predicate) for f in full), *(Fact(f.subject) for f in full)]


def tiny_run(folder: Path) -> RunFolder:
    """Train a small network on a few pictures of noise: what matters is its vocabulary of 128 numbers a word."""
    generator = np.random.default_rng(0)
    builder = DatasetBuilder("tiny")
    for number in range(20):
        path = folder / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        builder.add_image(path.stem, str(path), (16, 16), ("train", "train", "train", "val", "test")[number % 5])
        for fact in facts() if number % 5 < 3 else facts()[:5]:
            builder.add_instance(path.stem, fact, f"tiny#{number}")
    dataset = PreparedDataset.open(builder.write(folder / "data"))
    write_split(dataset, make_split("one", "random", 0, {}, random_split(dataset.facts, 1, 0)))
    config = {
        "data": {"path": str(folder / "data"), "split": "one", "workers": 0},
        "model": {
            "image": {"name": "cnn", "size": 16, "channels": [4]},
            "text": {"name": "random", "dim": DIM},
            "hidden": [8],
        },
        "train": {"epochs": 1, "batch_size": 8, "device": "cpu"},
    }
    return train(make_config(config), folder / "run", resume="never")


def clustered_rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return (count, 3 x 128) rows, each slot of unit length and near one of 500 centres."""
    generator = np.random.default_rng(1)
    centres = generator.standard_normal((CLUSTERS, 3, DIM), dtype=np.float32)
    rows = centres[generator.integers(0, CLUSTERS, count)]
    rows += 0.5 * generator.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows.reshape(count, 3 * DIM)


def write_index(run: RunFolder, out: Path, count: int) -> None:
    """Write an index folder whose rows are made up, filled by the run's model as far as anyone can tell."""
    out.mkdir()
    index = faiss.IndexFlatIP(3 * DIM)
    index.add(clustered_rows(count))
    faiss.write_index(index, str(out / "index.faiss"))
    version_of = run.model_fingerprint()
    columns = {
        "row": np.arange(count),
        "image": [f"/pictures/{row:07d}.jpg" for row in range(count)],
        "width": np.full(count, 640, np.int32),
        "height": np.full(count, 480, np.int32),
        "box": [None] * count,
        "model_version": [version_of] * count,
    }
    pq.write_table(pa.Table.from_pydict(columns, schema=ROWS), out / "rows.parquet")
    table = {slot: [getattr(fact, slot) for fact in facts()] for slot in SLOTS}
    pq.write_table(pa.Table.from_pydict(table, schema=FACTS), out / "facts.parquet")
    record = IndexRecord(
        format=SCHEMA,
        kind="flat",
        reason="made up for a benchmark",
        recall=1.0,
        recall_measured="exact",
        rows=count,
        numbers_per_row=3 * DIM,
        score="cosine",
        dim=DIM,
        model=ModelRecord(fingerprint=version_of, run=str(run.path), run_relative=str(run.path), after_task=run.stages),
        pictures=PicturesRecord(place="/pictures", kind="folder", region="image", own=False, pictures=count, skipped=0),
        versions={"faiss-cpu": version("faiss-cpu")},
        files={name: sha256_of_file(out / name) for name in ("index.faiss", "rows.parquet", "facts.parquet")},
    )
    write_json(out / "index.json", record.model_dump(mode="json"))


def milliseconds(index: FactIndex, reader: Reader, line: str) -> float:
    """Return the time of one line, from text to hits."""
    start = time.perf_counter()
    query = reader.line(line)
    embed_free_words(index.run.language, query.facts)
    answer(index, [query], 10)
    return 1000 * (time.perf_counter() - start)


def faiss_milliseconds(index: FactIndex, row: int) -> float:
    """Return the time of one search with FAISS and nothing around it, for 10 rows like another."""
    wanted = index.faiss.reconstruct_batch(np.array([row]))
    start = time.perf_counter()
    index.faiss.search(wanted, 10)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print a Markdown table: opening, the first query, the second, p50 and p99 of later ones, a batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        run = tiny_run(Path(scratch))
        write_index(run, Path(scratch) / "index", options.rows)
        start = time.perf_counter()
        index = FactIndex.open(Path(scratch) / "index")
        opening = time.perf_counter() - start
        vocabulary = Vocabulary.of_index(index)
        reader = Reader(lambda: vocabulary)
        print("| rows | threads | query | open, s | first, ms | second, ms | p50, ms | p99, ms | FAISS alone, ms |")
        print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
        kinds = {
            "`<noun, verb, noun>`": "<noun{0}, verb{1}, noun{2}>",
            "`<noun, *, noun>`": "<noun{0}, *, noun{2}>",
            "plain words": "a noun{0} verb{1} the noun{2}",
            "two facts": "<noun{0}, verb{1}> --and <noun{2}>",
            "three facts": "<noun{0}, verb{1}, noun{2}> --or <noun{1}> --not <*, *, noun{0}>",
        }
        for kind, form in kinds.items():
            lines = [form.format(n % NOUNS, n % VERBS, (11 * n + 5) % NOUNS) for n in range(options.queries)]
            took = [milliseconds(index, reader, line) for line in lines]
            p50, p99 = np.percentile(took[1:], [50, 99])
            alone = np.median([faiss_milliseconds(index, row) for row in range(options.queries)])
            print(
                f"| {options.rows:,} | {options.threads} | {kind} | {opening:.2f} | {took[0]:.1f} | {took[1]:.1f} | "
                f"{p50:.1f} | {p99:.1f} | {alone:.1f} |",
                flush=True,
            )
        asked = [
            reader.line(kinds["`<noun, verb, noun>`"].format(n % NOUNS, n % VERBS, n % NOUNS)) for n in range(BLOCK)
        ]
        start = time.perf_counter()
        answer(index, asked, 10)
        print(
            f"\nA block of {BLOCK} queries of one fact: {BLOCK / (time.perf_counter() - start):,.0f} queries a second."
        )


if __name__ == "__main__":
    main()
