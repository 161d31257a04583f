"""Time the first and later queries of one process over an index of made-up rows.

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
from pathlib import Path

import faiss
import numpy as np
import torch

from benchmarks.made_index import made_up_facts, made_up_index, tiny_run
from mas_triplets.retrieval.assemble import Wanted
from mas_triplets.retrieval.batch import BLOCK
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.free_words import embed_words_of
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.queries import Reader
from mas_triplets.retrieval.vocabulary import Vocabulary

DIM = 128


def milliseconds(index: FactIndex, reader: Reader, line: str) -> float:
    """Return the time of one line, from text to hits."""
    start = time.perf_counter()
    query = reader.line(line)
    embed_words_of(index, query.facts)
    answer(index, [query], 10)
    return 1000 * (time.perf_counter() - start)


def faiss_milliseconds(index: FactIndex, row: int) -> float:
    """Return the time of one search with FAISS and nothing around it, for 10 rows like another."""
    wanted = index.vectors[row : row + 1]
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
        run = tiny_run(Path(scratch), DIM)
        made_up_index(run, Path(scratch) / "index", options.rows, Wanted("flat", 0.95, 2**40))
        start = time.perf_counter()
        index = FactIndex.open(Path(scratch) / "index")
        opening = time.perf_counter() - start
        vocabulary = Vocabulary.of_index(index)
        reader = Reader(lambda: vocabulary)
        print("| rows | threads | query | open, s | first, ms | second, ms | p50, ms | p99, ms | FAISS alone, ms |")
        print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
        kinds = {
            "`<noun, verb, noun>`": "<{0}, {1}, {2}>",
            "`<noun, *, noun>`": "<{0}, *, {2}>",
            "plain words": "a {0} {1} the {2}",
            "two facts": "<{0}, {1}> --and <{2}>",
            "three facts": "<{0}, {1}, {2}> --or <{2}> --not <*, *, {0}>",
        }
        facts = [fact for fact in made_up_facts() if fact.order == 3]
        words = [facts[n % len(facts)].slots for n in range(max(BLOCK, options.queries))]
        for kind, form in kinds.items():
            lines = [form.format(*slots) for slots in words[: options.queries]]
            took = [milliseconds(index, reader, line) for line in lines]
            p50, p99 = np.percentile(took[1:], [50, 99])
            alone = np.median([faiss_milliseconds(index, row) for row in range(options.queries)])
            print(
                f"| {options.rows:,} | {options.threads} | {kind} | {opening:.2f} | {took[0]:.1f} | {took[1]:.1f} | "
                f"{p50:.1f} | {p99:.1f} | {alone:.1f} |",
                flush=True,
            )
        asked = [reader.line(kinds["`<noun, verb, noun>`"].format(*slots)) for slots in words[:BLOCK]]
        start = time.perf_counter()
        answer(index, asked, 10)
        print(
            f"\nA block of {BLOCK} queries of one fact: {BLOCK / (time.perf_counter() - start):,.0f} queries a second."
        )


if __name__ == "__main__":
    main()
