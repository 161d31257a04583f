"""Time `rank_metrics` against a loop over scikit-learn's average_precision_score.

    python -m benchmarks.metrics

1,000 facts x 100,000 images, about 20 relevant images per fact, two threads, once with almost no equal scores and once
with scores rounded to 1/8 (about 70 values). scikit-learn computes AP only; `rank_metrics` computes AP, AP@100,
hit@1/5/10 and RR. The loop runs on `--sample` facts and is extrapolated to all of them (its cost is per fact). Both
take turns, and the least time of `--repeats` counts. Memory is how far the process grew, after the operating system;
the second variant works in what the first left allocated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.metrics import average_precision_score

from mas_triplets.evaluation.ranking import MEMORY_BYTES, rank_metrics


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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


def main() -> None:
    """Run both variants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--facts", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--relevant", type=float, default=20, help="mean number of relevant images of a fact")
    parser.add_argument("--sample", type=int, default=40, help="facts that scikit-learn is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    relevant = torch.empty(options.facts, options.images, dtype=torch.bool)
    relevant.bernoulli_(options.relevant / options.images, generator=generator)
    scores = torch.empty(options.facts, options.images).normal_(generator=generator)
    scores[relevant] += 2

    for variant in ("few ties", "heavy ties"):
        if variant == "heavy ties":
            scores.mul_(8).round_().div_(8)
        sample = min(options.sample, options.facts)

        def loop(sample: int = sample) -> list[float]:
            return [average_precision_score(relevant[row].numpy(), scores[row].numpy()) for row in range(sample)]

        grown = growth_mib(lambda: rank_metrics(scores, relevant))
        rounds = [(seconds(lambda: rank_metrics(scores, relevant)), seconds(loop)) for _ in range(options.repeats)]
        ours, theirs = min(ours for ours, _ in rounds), min(theirs for _, theirs in rounds)
        theirs *= options.facts / sample
        print(
            f"{variant}: rank_metrics {ours:.2f} s, scikit-learn loop {theirs:.1f} s (extrapolated from {sample} of "
            f"{options.facts} facts), {theirs / ours:.0f} times faster; peak memory +{grown:.0f} MiB "
            f"(bound {MEMORY_BYTES / 2**20:.0f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
