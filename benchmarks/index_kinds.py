"""Every kind of index on the same made-up rows, and against plain FAISS used by hand.

    python -m benchmarks.index_kinds --rows 1000000 --threads 2 [--kinds flat,ivf,hnsw,ivfpq,sq] [--factory KEY]

Rows of 3 x 128 numbers lie near the words of 400 facts, some of which come far more often. For each kind: the time to
build it from rows on disk, recall measurement included and told apart; the size of index.faiss; recall@10 as noted in
index.json; how long single queries and batches of 100 take through `FactIndex`, and the same questions put to the same
file by plain FAISS with the same search parameters, one after the other in turn. What FAISS does not do, and is counted
as ours: looking up words, scores of double precision for the best rows and a margin, ties, names of pictures.
`--factory` builds another index of FAISS by its factory string, with the search parameter that reaches the same recall.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.made_index import made_up_facts, made_up_index, made_up_rows, tiny_run
from mas_triplets.facts import Fact
from mas_triplets.model.triplet import query_rows
from mas_triplets.retrieval.assemble import Wanted
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.kinds import KINDS, search_parameters
from mas_triplets.retrieval.recall import queries_for, recall_at
from mas_triplets.training.run_folder import RunFolder

MASKS = {"<s, p, o>": (1, 1, 1), "<*, p, o>": (0, 1, 1), "<*, p, *>": (0, 1, 0)}
_BATCH = 100
_K = 10


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def by_hand(index: FactIndex, facts: Sequence[Fact]) -> Callable[[npt.NDArray[np.float32]], object]:
    """Return a search by plain FAISS as `index` would do it for these facts, without what comes after."""
    exact = index.is_exact(facts[0])
    parameters = None
    if not exact:
        name = "+".join(slot for slot, present in zip(index.record.parts, facts[0].mask, strict=True) if present)
        searching = index.record.search[name]
        assert searching.parameters is not None
        parameters = search_parameters(KINDS[index.record.kind], searching.parameters)
    plain = faiss.read_index(
        str(index.path / ("exact.faiss" if exact and index.record.kind != "flat" else "index.faiss"))
    )
    return lambda queries: plain.search(queries, _K, params=parameters)


def measured(index: FactIndex, mask: tuple[int, ...], count: int) -> dict[str, Any]:
    """Return what a table's row has of one mask."""
    facts = queries_for(mask, made_up_facts())[:_BATCH]
    queries = query_rows(*index.space.embed(facts), index.record.score).numpy()
    plain = by_hand(index, facts)
    for work in (lambda: index.search(facts[0], _K), lambda: plain(queries[:1])):
        work()
    ours, theirs = [], []
    for number in range(count):  # in turn, so that other work on the machine meets both alike
        one = number % len(facts)
        ours.append(milliseconds(partial(index.search, facts[one], _K)))
        theirs.append(milliseconds(partial(plain, queries[one : one + 1])))
    batches = [
        (milliseconds(partial(index.search_many, facts, _K)), milliseconds(partial(plain, queries))) for _ in range(3)
    ]
    our_batch, their_batch = (min(values) for values in zip(*batches, strict=True))
    name = "+".join(slot for slot, present in zip(index.record.parts, mask, strict=True) if present)
    searching = index.record.search[name]
    return {
        "search": "exact"
        if searching.parameters is None
        else json.dumps(searching.parameters).strip("{}").replace('"', ""),
        "recall@10": searching.recall[_K],
        "p50 ms": float(np.percentile(ours, 50)),
        "p99 ms": float(np.percentile(ours, 99)),
        "ours / FAISS": float(np.median(np.array(ours) / np.array(theirs))),
        "ms more": float(np.median(np.array(ours) - np.array(theirs))),
        "queries a second": 1e3 * len(facts) / our_batch,
        "batch: ours / FAISS": our_batch / their_batch,
    }


def factory(run: RunFolder, key: str, flat: Any, count: int, wanted: float) -> dict[str, Any]:
    """Build an index of FAISS by its factory string and return its figures at the wanted recall, wild cards aside."""
    facts = queries_for((1, 1, 1), made_up_facts())[:_BATCH]
    queries = query_rows(*run.language.embed(facts), "cosine").numpy()
    began = time.perf_counter()
    index = faiss.index_factory(flat.d, key, faiss.METRIC_INNER_PRODUCT)
    blocks = list(made_up_rows(run, flat.ntotal))
    index.train(np.concatenate(blocks[: max(1, 200_000 // len(blocks[0]))]))
    for block in blocks:
        index.add(block)
    built = time.perf_counter() - began
    space: Any = faiss.ParameterSpace()
    recall, setting = 0.0, ""
    for probes in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        for more in (1, 8) if "RFlat" in key or "Refine" in key else (1,):
            setting = f"nprobe={probes}" + (f",k_factor_rf={more}" if more > 1 else "")
            space.set_index_parameters(index, setting)
            recall = recall_at(_K, flat, queries, index.search(queries, _K)[1])
            if recall >= wanted:
                break
        if recall >= wanted:
            break
    single = [milliseconds(partial(index.search, queries[one % len(queries)][None], _K)) for one in range(count)]
    batch = min(milliseconds(partial(index.search, queries, _K)) for _ in range(3))
    return {
        "kind": key,
        "queries": "<s, p, o>",
        "build s": built,
        "search": setting,
        "recall@10": recall,
        "p50 ms": float(np.percentile(single, 50)),
        "p99 ms": float(np.percentile(single, 99)),
        "queries a second": 1e3 * len(queries) / batch,
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--kinds", default="flat,ivf,hnsw,ivfpq,sq")
    parser.add_argument("--factory", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        run = tiny_run(Path(folder), options.dim)
        flat = None
        for kind in options.kinds.split(","):
            out = Path(folder) / kind
            began = time.perf_counter()
            made_up_index(run, out, options.rows, Wanted(kind, options.recall, 2**40))
            built = time.perf_counter() - began
            index = FactIndex.open(out, run)
            flat = index.exact if flat is None else flat
            size = (out / "index.faiss").stat().st_size / 2**20
            for name, mask in MASKS.items():
                row = {
                    "kind": kind,
                    "queries": name,
                    "build s": built,
                    "MiB": size,
                    **measured(index, mask, options.queries),
                }
                table.append(row)
                print(json.dumps(row) if options.json else markdown(row, first=len(table) == 1), flush=True)
        for key in options.factory:
            row = factory(run, key, flat, options.queries, options.recall)
            print(json.dumps(row) if options.json else markdown(row, first=False), flush=True)


COLUMNS = (
    "kind", "queries", "build s", "MiB", "search", "recall@10", "p50 ms", "p99 ms", "ours / FAISS", "ms more",
    "queries a second", "batch: ours / FAISS",
)  # fmt: skip


def markdown(row: dict[str, Any], *, first: bool) -> str:
    """Return a row of the table, after its head if it is the first."""
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n" if first else ""
    cells = [value if isinstance(value := row.get(name, ""), str) else f"{value:,.4g}" for name in COLUMNS]
    return f"{head}| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
