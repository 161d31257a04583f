"""What the penalty costs in a training step: steps with it against plain ones, interleaved in one process.

    python -m benchmarks.train_step [--json] [--models resnet18,head] [--repeats 31] [--threads 1] [--cpu-time]

Every step is forward in training mode, squared loss, backward, Adam (fused, as in training). Each way takes nine steps
at a time, of which the last eight count, so that what is in the cache is its own. Ratios are of medians of their sum to

- finetune: no penalty;

and the ways are

- proximal: Memory Aware Synapses as trained by default, a proximal step of the penalty for every eight of Adam's;
- each step: a proximal step after each of Adam's;
- gradient: the penalty's gradient added before each of Adam's steps;
- in loss: the penalty written as a sum in the loss, for comparison.

Each way has a model, an optimiser and, where it needs them, an Omega and anchor of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models import DemoNet, EmbeddingHead, torchvision_model
from mas_triplets.config import LifelongConfig
from mas_triplets.lifelong import QuadraticPenalty

WAYS = ("proximal", "each step", "gradient", "in loss")
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "resnet18": (lambda: torchvision_model("resnet18"), (3, 64, 64), (64,)),
    "head": (EmbeddingHead, (1280,), (64, 256, 512, 1024)),
    "demo": (DemoNet, (3, 48, 48), (32,)),
}
EVERY = LifelongConfig().every
RATE = 1e-4
STRENGTH = 1e-2


def stepper(model: nn.Module, way: str, batch: Tensor, target: Tensor) -> Callable[[], None]:
    """Return a function that takes one training step."""
    model = copy.deepcopy(model).train()
    parameters = dict(model.named_parameters())
    optimiser = torch.optim.Adam(parameters.values(), lr=RATE, fused=True)
    omega = {name: torch.rand_like(p) for name, p in parameters.items()} if way != "finetune" else {}
    anchor = {name: parameters[name].detach() + 0.01 * torch.randn_like(omega[name]) for name in omega}
    penalty = QuadraticPenalty(omega, anchor, STRENGTH)
    every = EVERY if way == "proximal" else 1
    taken = 0

    def step() -> None:
        nonlocal taken
        optimiser.zero_grad(set_to_none=True)
        loss = (model(batch) - target).square().mean()
        if way == "in loss":
            terms = [(omega[name] * (p - anchor[name]).square()).sum() for name, p in parameters.items()]
            loss = loss + STRENGTH * torch.stack(terms).sum()
        loss.backward()
        if way == "gradient":
            penalty.add_gradient(model)
        optimiser.step()
        taken += 1
        if way in ("proximal", "each step") and taken % every == 0:
            penalty.proximal_step(model, every * RATE)

    return step


def measure(name: str, size: int, repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Time every way on one batch."""
    torch.manual_seed(0)
    build, shape, _ = MODELS[name]
    model, batch = build(), torch.randn(size, *shape)
    with torch.no_grad():
        target = torch.randn_like(model(batch))
    steps = {way: stepper(model, way, batch, target) for way in ("finetune", *WAYS)}
    times: dict[str, list[float]] = {way: [] for way in steps}
    for repeat in range(repeats + 1):
        for way, step in steps.items():
            step()
            start = clock()
            for _ in range(EVERY):
                step()
            if repeat:  # the first round warms up
                times[way].append((clock() - start) / EVERY)
    medians = {way: statistics.median(values) for way, values in times.items()}
    result = {"model": name, "batch": size, "finetune_ms": 1000 * medians["finetune"]}
    return result | {way: medians[way] / medians["finetune"] for way in WAYS}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--models", default=",".join(MODELS), help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time")
    given = parser.parse_args(arguments)
    names = given.models.split(",")
    if set(names) - set(MODELS):
        parser.error(f"--models: choose from {', '.join(MODELS)}")
    torch.set_num_threads(given.threads)
    rows = []
    if not given.json:
        print(f"ratios to a step without penalty, {given.threads} threads, torch {torch.__version__}")
        print(f"{'model':<12}{'batch':>6}{'finetune ms':>13}" + "".join(f"{way:>10}" for way in WAYS))
    for name in names:
        for size in MODELS[name][2]:
            row = measure(name, size, given.repeats, time.process_time if given.cpu_time else time.perf_counter)
            rows.append(row)
            if not given.json:
                ratios = "".join(f"{row[way]:>10.3f}" for way in WAYS)
                print(f"{name:<12}{size:>6}{row['finetune_ms']:>13.1f}{ratios}", flush=True)
    if given.json:
        print(
            json.dumps({"threads": given.threads, "cpu_time": given.cpu_time, "torch": torch.__version__, "rows": rows})
        )


if __name__ == "__main__":
    main()
