"""Evaluating facts against pictures, from embeddings to metrics, and a loop over scikit-learn, in one run.

    python -m benchmarks.ranking [--facts 1000] [--images 100000] [--threads 1] [--cpu-time] [--max-bytes 64M,256M]

Made-up embeddings (3 x 128 numbers a picture) and facts, about 20 relevant pictures a fact, as sparse labels. A line
for each bound on memory, once with hardly any equal scores and once with pictures that are copies, 50 of each:

- scores: the matrix product alone, in the blocks that the bound gives;
- ranks: AP, AP@100, hit@1/5/10 and RR from these scores, exact under ties;
- together: the whole of it, as evaluation runs it, and by how much the process grew at most;
- scikit-learn: a loop over average_precision_score, AP alone, on the same scores, which it is given for nothing;
  measured on `--sample` facts spread over all and scaled to all, since its cost is per fact (`--sample 0`: all facts).

Ratios are scikit-learn's time over `ranks`, the like for like, and over `together`. Where scores are equal
average_precision_score puts all of them on the last of their ranks, and the area under that staircase is another
number than the mean over orders; so AP is compared only for facts of which no relevant picture's score occurs twice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from mas_triplets.data.items import Labels
from mas_triplets.evaluation.block_ranking import rank_blocks
from mas_triplets.evaluation.score_tiles import FACT_TILE, ScoreTiles

DIM = 128
COPIES = 50


def made_up(facts: int, images: int, relevant: float, copies: int) -> tuple[ScoreTiles, Labels]:
    """Return scores to ask for and which pictures are right for which fact: a row for each fact."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(facts, 3, DIM, generator=generator), dim=-1)
    embedding = torch.randn(-(-images // copies), 3 * DIM, generator=generator).repeat(copies, 1)[:images]
    random = np.random.default_rng(0)
    of_fact = [np.unique(random.integers(0, images, 1 + random.poisson(relevant - 1))) for _ in range(facts)]
    row, column = np.repeat(np.arange(facts), [len(found) for found in of_fact]), np.concatenate(of_fact)
    for fact, found in enumerate(of_fact):  # relevant pictures lean towards their fact
        embedding[torch.from_numpy(found)] += 3 * vectors[fact].flatten()
    return ScoreTiles(embedding, vectors, torch.ones(facts, 3), "cosine"), Labels.of_pairs(row, column, facts, images)


def memory_mib(field: str) -> float:
    """Return VmRSS (held now) or VmHWM (most held since the last reset) of this process in MiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def growth_mib(work: Callable[[], object]) -> float:
    """Return by how many MiB the process grew at most while `work` ran."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = memory_mib("VmRSS")
    work()
    return memory_mib("VmHWM") - before


def ours(
    tiles: ScoreTiles, labels: Labels, bound: int, clock: Callable[[], float]
) -> tuple[dict[str, Tensor], float, float]:
    """Return the metrics of every fact, the seconds that scores took, and the seconds of all."""
    of_scores = 0.0

    def scores(facts: slice) -> Tensor:
        nonlocal of_scores
        start = clock()
        found = tiles.of_facts(facts)
        of_scores += clock() - start
        return found

    start = clock()
    (found,) = rank_blocks(scores, [labels], memory_bytes=bound, multiple_of=FACT_TILE)
    return found, of_scores, clock() - start


def theirs(
    tiles: ScoreTiles, labels: Labels, sample: int, clock: Callable[[], float]
) -> tuple[dict[int, float], set[int], float]:
    """Return AP by scikit-learn of a sample of the facts, those of them without ties, and the seconds a fact."""
    facts = len(labels.starts) - 1
    chosen = np.unique(np.linspace(0, facts - 1, sample or facts).astype(np.int64)).tolist()
    found, untied, seconds = {}, set(), 0.0
    for fact in chosen:
        score, relevant = tiles.of_facts(slice(fact, fact + 1))[0].numpy(), labels.rows(np.array([fact]))[0]
        start = clock()
        found[fact] = float(average_precision_score(relevant, score))
        seconds += clock() - start
        if np.isin(score, score[relevant]).sum() == relevant.sum() == len(np.unique(score[relevant])):
            untied.add(fact)
    return found, untied, seconds / len(chosen)


def measure(given: argparse.Namespace, copies: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Time every bound and the loop by turns; return a row for each bound, of the quickest of the rounds."""
    tiles, labels = made_up(given.facts, given.images, given.relevant, copies)
    bounds = [_bytes(bound) for bound in given.max_bytes.split(",")]
    grown = {bound: growth_mib(lambda: ours(tiles, labels, bound, clock)) for bound in bounds}  # noqa: B023 - called here
    taken: dict[int, list[tuple[float, float]]] = {bound: [] for bound in bounds}
    loop: list[float] = []
    for _ in range(given.repeats):
        metrics = {}
        for bound in bounds:
            metrics[bound], of_scores, of_all = ours(tiles, labels, bound, clock)
            taken[bound].append((of_scores, of_all))
        reference, untied, a_fact = theirs(tiles, labels, given.sample, clock)
        loop.append(a_fact * given.facts)
    first = metrics[bounds[0]]
    assert all(found[name].equal(first[name]) for found in metrics.values() for name in first), (
        "the bound changed a bit"
    )
    rows = []
    for bound in bounds:
        of_scores, of_all = min(taken[bound], key=lambda one: one[1])
        rows.append(
            {
                "copies": copies,
                "bound_mib": bound / 2**20,
                "grown_mib": grown[bound],
                "scores_s": of_scores,
                "ranks_s": of_all - of_scores,
                "together_s": of_all,
                "sklearn_s": min(loop),
                "sklearn_facts": len(reference),
                "over_ranks": min(loop) / (of_all - of_scores),
                "over_together": min(loop) / of_all,
                "untied_facts": len(untied),
                "largest_difference": max((abs(float(first["ap"][f]) - reference[f]) for f in untied), default=None),
            }
        )
    return rows


def _bytes(text: str) -> int:
    """Return a number of bytes such as 64M or 1G."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1:] in units else int(text)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--facts", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--relevant", type=float, default=20, help="mean number of relevant pictures of a fact")
    parser.add_argument("--sample", type=int, default=100, help="facts that scikit-learn is timed on; 0: all")
    parser.add_argument("--max-bytes", default="64M,256M", help="bounds on memory, separated by commas")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu_time else time.perf_counter
    rows = []
    if not given.json:
        print(f"{given.facts:,} facts, {given.images:,} pictures, {given.threads} threads, torch {torch.__version__}\n")
        print(
            "| copies | bound, MiB | grown, MiB | scores, s | ranks, s | together, s | scikit-learn, s (facts timed) ",
            end="",
        )
        print("| over ranks | over together | largest difference of AP (facts without ties) |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for copies in (1, COPIES):
        for row in measure(given, copies, clock):
            rows.append(row)
            if not given.json:
                apart = "none" if row["largest_difference"] is None else f"{row['largest_difference']:.0e}"
                cells = [
                    f"{copies}",
                    *(f"{row[name]:.0f}" for name in ("bound_mib", "grown_mib")),
                    *(f"{row[name]:.2f}" for name in ("scores_s", "ranks_s", "together_s")),
                    f"{row['sklearn_s']:.1f} ({row['sklearn_facts']})",
                    *(f"{row[name]:.1f}" for name in ("over_ranks", "over_together")),
                    f"{apart} ({row['untied_facts']})",
                ]
                print(f"| {' | '.join(cells)} |", flush=True)
    if given.json:
        print(json.dumps({**vars(given), "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
