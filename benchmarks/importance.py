"""What an estimate of importance costs, against one plain forward and backward pass of the same batch.

    python -m benchmarks.importance [--json] [--models demo,head] [--repeats 9] [--threads 2] [--cpu-time]

Times are medians of interleaved repeats, after a warm-up, for one batch:

- plain: forward, ||F||^2 summed over the batch, backward into every parameter: what training would do;
- exact: `estimate_importance` over eight such batches, everything included, divided by eight, as an estimate is made
  over many batches; single and batched: a call with one batch, exact and mode="batched"; first: the first exact call
  for a model, which also checks the rules against ordinary gradients (later calls remember the outcome);
- vmap: `torch.func.vmap(grad)`, absolute values, sum; loop: one sample, one backward pass (a quarter of the batch is
  timed, times four).

With `--threads 1 --cpu-time` the processor time of this process counts, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.per_sample import knowledge

WAYS = ("exact", "single", "first", "batched", "vmap", "loop")
STREAM = 8  # batches of an exact estimate


class DemoNet(nn.Module):
    """Four convolutions of stride 2, a hidden layer, three heads: the network of `mas-triplets demo`."""

    def __init__(self, size: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in ((3, 16), (16, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * (size // 16) ** 2, 256), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(256, 50) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        """Return (batch, 150)."""
        features = self.trunk(images)
        return torch.cat([head(features) for head in self.heads], dim=1)


class EmbeddingHead(nn.Module):
    """What is trained on top of a fixed image encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(1280, 512), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(512, 384) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, 1152)."""
        hidden = self.hidden(features)
        return torch.cat([head(hidden) for head in self.heads], dim=1)


def torchvision_model(name: str) -> nn.Module:
    """Return a torchvision model with random weights, and running statistics as if it had been trained."""
    models: Any = importlib.import_module("torchvision.models")
    model: nn.Module = getattr(models, name)()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "demo": (DemoNet, (3, 48, 48), (32, 64, 128)),
    "head": (EmbeddingHead, (1280,), (64, 256)),
    "resnet18": (lambda: torchvision_model("resnet18"), (3, 64, 64), (16, 64)),
    "mobilenet_v3_small": (lambda: torchvision_model("mobilenet_v3_small"), (3, 64, 64), (16, 64)),
}


def plain(model: nn.Module, batch: Tensor) -> None:
    """One training step without the step."""
    model.zero_grad()
    model(batch).square().sum().backward()


def by_vmap(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Importance by per-sample gradients of the whole batch at once."""

    def objective(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, values, (sample[None],))
        return output.square().sum()

    values = {name: parameter.detach() for name, parameter in model.named_parameters()}
    gradients = torch.func.vmap(torch.func.grad(objective), in_dims=(None, 0))(values, batch)
    return {name: gradient.abs().mean(0) for name, gradient in gradients.items()}


def by_loop(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Importance by one backward pass a sample."""
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for sample in batch.split(1):
        gradients = torch.autograd.grad(model(sample).square().sum(), parameters)
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient.abs()
    return [total / len(batch) for total in totals]


def measure(name: str, size: int, repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Time every way on one batch; `repeats` for the fast ones, fewer for vmap and the loop."""
    torch.manual_seed(0)
    build, shape, _ = MODELS[name]
    model, batch = build().eval(), torch.randn(size, *shape)
    quarter = batch[: size // 4]

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
    times: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, action in ways.items():
            if way in ("vmap", "loop") and repeat > max(2, repeats // 4):
                continue
            start = clock()
            action()
            taken = (clock() - start) * {"loop": size / len(quarter), "exact": 1 / STREAM}.get(way, 1)
            if repeat:  # the first round warms up
                times[way].append(taken)
    medians = {way: statistics.median(values) for way, values in times.items()}
    result: dict[str, Any] = {"model": name, "batch": size, "plain_ms": 1000 * medians["plain"]}
    return result | {way: medians[way] / medians["plain"] for way in WAYS}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--models", default=",".join(MODELS), help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time")
    given = parser.parse_args(arguments)
    names = given.models.split(",")
    if set(names) - set(MODELS):
        parser.error(f"--models: choose from {', '.join(MODELS)}")
    torch.set_num_threads(given.threads)
    rows = []
    if not given.json:
        print(f"ratios to one plain forward and backward pass, {given.threads} threads, torch {torch.__version__}")
        print(f"{'model':<20}{'batch':>6}{'plain ms':>10}" + "".join(f"{way:>10}" for way in WAYS))
    for name in names:
        for size in MODELS[name][2]:
            row = measure(name, size, given.repeats, time.process_time if given.cpu_time else time.perf_counter)
            rows.append(row)
            if not given.json:
                ratios = "".join(f"{row[way]:>10.2f}" for way in WAYS)
                print(f"{name:<20}{size:>6}{row['plain_ms']:>10.1f}{ratios}", flush=True)
    if given.json:
        print(
            json.dumps({"threads": given.threads, "cpu_time": given.cpu_time, "torch": torch.__version__, "rows": rows})
        )


if __name__ == "__main__":
    main()
