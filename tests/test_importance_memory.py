"""The working memory of an estimate stays under its bound, and the bound changes no number."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mas_triplets.lifelong import estimate_importance
from mas_triplets.lifelong.per_sample import run
from mas_triplets.lifelong.per_sample.gradients import Workspace
from mas_triplets.lifelong.per_sample.knowledge import forget

MIB = 2**20
vision: Any = importlib.import_module("torchvision.models")  # it comes without types


def peak(action: Callable[[], Any]) -> float:
    """Return the most memory in MiB that tensors allocated by the action held at a time, by PyTorch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        action()
    recorded: Any = found.profiler
    held = most = 0
    for event in sorted(recorded.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / MIB


def activations_alone(model: nn.Module, batch: Tensor) -> None:
    """Go forward and backward without any parameter's gradient."""
    inputs = batch.clone().requires_grad_()
    model.requires_grad_(False)
    torch.autograd.grad(model(inputs).square().sum(), inputs)
    model.requires_grad_(True)


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: nn.Module = vision.resnet18(num_classes=10).eval()
    return model


def wide() -> nn.Module:
    """A layer whose windows, 13 MB a picture, are what counts."""
    return nn.Sequential(nn.Conv2d(32, 8, 5, padding=2), nn.AdaptiveAvgPool2d(2), nn.Tanh(), nn.Flatten())


@pytest.mark.parametrize(
    ("model", "shape", "unbounded"), [("resnet18", (24, 3, 64, 64), 0), ("wide", (12, 32, 64, 64), 40)]
)
def test_the_bound_is_kept_and_changes_nothing(
    model: str, shape: tuple[int, ...], unbounded: float, request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CACHE_BYTES", 2**40)  # on a processor it would hide the bound
    network = request.getfixturevalue("resnet18") if model == "resnet18" else wide()
    batch = torch.randn(shape)
    needed = peak(lambda: activations_alone(network, batch))
    needed += sum(p.nbytes for p in network.parameters()) / MIB  # the result
    found = {}
    beyond = {}
    for limit in (512, 16, 4):

        def estimate(limit: int = limit) -> None:
            found[limit] = estimate_importance(network, [batch], memory_limit_mb=limit)

        estimate()  # what is found about the model is remembered
        Workspace.on(torch.device("cpu"), -1)  # buffers kept from it are given back
        beyond[limit] = peak(estimate) - needed
    assert beyond[512] >= unbounded
    assert beyond[16] < 16
    assert beyond[4] < 4
    for limit in (16, 4):
        for name, value in found[512].items():
            assert (found[limit][name] - value).norm() < 1e-5 * value.norm(), name


def test_the_first_call_needs_one_more_copy_of_the_parameters(resnet18: nn.Module) -> None:
    batch = torch.randn(2, 3, 64, 64)
    forget(resnet18)
    size = sum(p.nbytes for p in resnet18.parameters()) / MIB
    most = peak(lambda: estimate_importance(resnet18, [batch]))
    assert most < 2 * size + peak(lambda: activations_alone(resnet18, batch)) + 32
