"""What an estimate of importance costs, against one plain forward and backward pass of the same batch.

    python -m benchmarks.importance [--json] [--models demo,head] [--seconds 40] [--threads 1] [--cpu-time]

Times are medians of interleaved repeats, after a warm-up, for one batch:

- plain: forward, ||F||^2 summed over the batch, backward into every parameter: what training would do;
- exact: `estimate_importance` over four such batches, everything included, divided by four, as an estimate is made
  over many batches; single and batched: a call with one batch, exact and mode="batched"; first: the first exact call
  for a model, which also checks the rules against ordinary gradients (later calls remember the outcome);
- vmap: `torch.func.vmap(grad)`, absolute values, sum, so many samples at a time that their gradients stay under 2 GiB;
  loop: one sample, one backward pass (a quarter of the batch is timed, times four).

Memory is the largest sum of all tensors allocated meanwhile, in MiB, as PyTorch's profiler sees each allocation: the
plain pass with its gradients, the first exact estimate with its result, and vmap. Model and batch are not in it.

With `--threads 1 --cpu-time` the processor time of this process counts, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.models import (
    DemoNet,
    EmbeddingHead,
    as_trained,
    clip_small,
    dinov2_small,
    efficientnet_lite0,
    torchvision_model,
)
from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.per_sample import knowledge

WAYS = ("exact", "single", "first", "batched", "vmap", "loop")
MEMORY = ("plain MB", "exact MB", "vmap MB")
STREAM = 4  # batches of an exact estimate
VMAP_BYTES = 2**31
SQUARE = (3, 64, 64)

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "demo": (DemoNet, (3, 48, 48), (32, 64, 128)),
    "head": (EmbeddingHead, (1280,), (64, 256)),
    "alexnet": (lambda: torchvision_model("alexnet"), SQUARE, (8, 32)),
    "vgg16": (lambda: torchvision_model("vgg16"), SQUARE, (4, 16)),
    "resnet18": (lambda: torchvision_model("resnet18"), SQUARE, (16, 64)),
    "mobilenet_v3_small": (lambda: torchvision_model("mobilenet_v3_small"), SQUARE, (16, 64)),
    "efficientnet_b0": (lambda: torchvision_model("efficientnet_b0"), SQUARE, (8, 32)),
    "efficientnet-lite0": (efficientnet_lite0, SQUARE, (8, 32)),
    "convnext_tiny": (lambda: torchvision_model("convnext_tiny"), SQUARE, (4, 16)),
    "vit_b_16": (lambda: torchvision_model("vit_b_16", image_size=128), (3, 128, 128), (2, 8)),
    "clip": (clip_small, (3, 112, 112), (8, 32)),
    "dinov2": (dinov2_small, (3, 112, 112), (8, 32)),
}


def plain(model: nn.Module, batch: Tensor) -> None:
    """One training step without the step."""
    model.zero_grad()
    model(batch).square().sum().backward()


def by_vmap(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Importance by per-sample gradients of many samples at once."""

    def objective(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, values, (sample[None],))
        return output.square().sum()

    values = {name: parameter.detach() for name, parameter in model.named_parameters()}
    totals = {name: torch.zeros_like(value) for name, value in values.items()}
    most = max(1, VMAP_BYTES // sum(value.nbytes for value in values.values()))
    for part in batch.split(most):
        gradients = torch.func.vmap(torch.func.grad(objective), in_dims=(None, 0))(values, part)
        for name, gradient in gradients.items():
            totals[name] += gradient.abs().sum(0)
    return {name: total / len(batch) for name, total in totals.items()}


def by_loop(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Importance by one backward pass a sample."""
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for sample in batch.split(1):
        gradients = torch.autograd.grad(model(sample).square().sum(), parameters, allow_unused=True)
        for total, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:
                total += gradient.abs()
    return [total / len(batch) for total in totals]


def peak(action: Callable[[], Any]) -> float:
    """Return the most memory that tensors allocated by the action held at a time, in MiB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        action()
    recorded: Any = found.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 2**20


def measure(name: str, size: int, seconds: float, clock: Callable[[], float]) -> dict[str, Any]:
    """Time every way on one batch for about so many seconds, twice at least; vmap and the loop twice."""
    torch.manual_seed(0)
    build, shape, _ = MODELS[name]
    batch = torch.randn(size, *shape)
    model = as_trained(build(), batch)
    quarter = batch[: max(1, size // 4)]

    def first() -> None:
        knowledge.forget(model)
        estimate_importance(model, [batch])

    ways: dict[str, Callable[[], Any]] = {
        "first": first,
        "warm": lambda: plain(model, batch),  # what comes before must not decide how fast the yardstick is
        "plain": lambda: plain(model, batch),
        "single": lambda: estimate_importance(model, [batch]),
        "exact": lambda: estimate_importance(model, [batch] * STREAM),
        "batched": lambda: estimate_importance(model, [batch], mode="batched"),
        "vmap": lambda: by_vmap(model, batch),
        "loop": lambda: by_loop(model, quarter),
    }
    model.zero_grad()
    memory = {"plain MB": peak(ways["plain"])}
    model.zero_grad()
    memory |= {"exact MB": peak(ways["exact"]), "vmap MB": peak(ways["vmap"])}
    times: dict[str, list[float]] = {way: [] for way in ways}
    began = time.monotonic()
    while len(times["exact"]) < 3 or time.monotonic() - began < seconds:
        for way, action in ways.items():
            if way in ("vmap", "loop") and len(times[way]) >= 3:
                continue
            start = clock()
            action()
            share = {"loop": size / len(quarter), "exact": 1 / STREAM}.get(way, 1)
            times[way].append((clock() - start) * share)
    medians = {way: statistics.median(values[1:]) for way, values in times.items()}  # the first round warms up
    result: dict[str, Any] = {"model": name, "batch": size, "plain_ms": 1000 * medians["plain"]}
    return result | {way: medians[way] / medians["plain"] for way in WAYS} | memory


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--models", default=",".join(MODELS), help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--seconds", type=float, default=15, help="about how long a row takes, without vmap and memory")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time")
    given = parser.parse_args(arguments)
    names = given.models.split(",")
    if set(names) - set(MODELS):
        parser.error(f"--models: choose from {', '.join(MODELS)}")
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore", message="parameters that take no part")  # DINOv2's mask token
    rows = []
    if not given.json:
        print(f"ratios to one plain forward and backward pass, {given.threads} threads, torch {torch.__version__}")
        heads = "".join(f"{head:>9}" for head in (*WAYS, *MEMORY))
        print(f"{'model':<20}{'batch':>6}{'plain ms':>10}{heads}")
    for name in names:
        for size in MODELS[name][2]:
            row = measure(name, size, given.seconds, time.process_time if given.cpu_time else time.perf_counter)
            rows.append(row)
            if not given.json:
                ratios = "".join(f"{row[way]:>9.2f}" for way in WAYS) + "".join(f"{row[of]:>9.0f}" for of in MEMORY)
                print(f"{name:<20}{size:>6}{row['plain_ms']:>10.1f}{ratios}", flush=True)
    if given.json:
        print(
            json.dumps({"threads": given.threads, "cpu_time": given.cpu_time, "torch": torch.__version__, "rows": rows})
        )


if __name__ == "__main__":
    main()
