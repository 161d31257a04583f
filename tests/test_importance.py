"""Importance: numbers worked by hand, the definition, the state left as it was, and errors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mas_triplets.errors import UserError
from mas_triplets.lifelong.importance import estimate_importance


class Chain(nn.Module):
    """F(x) = w2 w1 x."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.w1.weight, 2.0)
        nn.init.constant_(self.w2.weight, 3.0)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.w2(self.w1(values))
        return result


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 5)
    )


def pictures(count: int = 7) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def test_numbers_worked_by_hand() -> None:
    # ||F||^2 = (w1 w2 x)^2: gradients 2 w1 w2^2 x^2 = 36 x^2 and 2 w1^2 w2 x^2 = 24 x^2; x^2 = 1, 1, 4
    batches = [torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0]])]
    omega = estimate_importance(Chain(), batches)
    assert {name: value.item() for name, value in omega.items()} == {"w1.weight": 72.0, "w2.weight": 48.0}
    squares = estimate_importance(Chain(), batches, statistic="square")
    assert squares["w1.weight"].item() == (36**2 + 36**2 + 144**2) / 3
    assert squares["w2.weight"].item() == (24**2 + 24**2 + 96**2) / 3


def test_absolute_values_are_taken_before_the_mean() -> None:
    # F = w x + b at w = 1, b = 0: gradients 2 x (w x + b) = 2 x^2 for w and 2 x for b, whose signs differ
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    batch = torch.tensor([[1.0], [-1.0], [3.0]])
    exact = estimate_importance(model, [batch])
    assert exact["bias"].item() == pytest.approx((2 + 2 + 6) / 3)
    batched = estimate_importance(model, [batch], mode="batched")
    assert batched["bias"].item() == pytest.approx((2 - 2 + 6) / 3)
    # the short last batch weighs by its size: (2 |(2 - 2) / 2| + 1 |6|) / 3
    assert estimate_importance(model, batch.split(2), mode="batched")["bias"].item() == pytest.approx(2)
    assert estimate_importance(model, batch.split(2), mode="batched", statistic="square")[
        "bias"
    ].item() == pytest.approx(12)
    assert estimate_importance(model, batch.split(2))["bias"].item() == exact["bias"].item()


def test_batches_of_one_make_the_modes_equal() -> None:
    model, inputs = network(), pictures()
    exact = estimate_importance(model, [inputs])
    batched = estimate_importance(model, inputs.split(1), mode="batched")
    for name, value in exact.items():
        torch.testing.assert_close(batched[name], value, rtol=1e-5, atol=1e-6)
    singles = estimate_importance(model, inputs.split(1))
    for name, value in exact.items():
        torch.testing.assert_close(singles[name], value, rtol=1e-5, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.sampled_from(["exact", "batched"]))
def test_max_samples_cuts_exactly(most: int, size: int, mode: Any) -> None:
    model, inputs = network(), pictures()
    taken: list[int] = []

    def batches() -> Iterator[tuple[Tensor, list[str]]]:
        for part in inputs.split(size):
            taken.append(len(part))
            yield part, ["label"] * len(part)

    done: list[int] = []
    cut = estimate_importance(model, batches(), max_samples=most, mode=mode, progress=done.append)
    assert done[-1] == most
    assert sum(taken[:-1]) < most  # no batch is asked for that is not used
    expected = estimate_importance(model, inputs[:most].split(size), mode=mode)
    assert all(torch.equal(cut[name], expected[name]) for name in expected)


def test_the_same_bits_twice() -> None:
    model, batches = network(), pictures(16).split(6)
    first = estimate_importance(model, batches)
    second = estimate_importance(model, batches)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_output_and_batches_of_several_parts() -> None:
    class Slots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(3))

        def forward(self, *, values: Tensor, shift: Tensor) -> dict[str, Tensor]:
            return {"slots": torch.stack([head(values + shift) for head in self.heads], dim=1)}

    torch.manual_seed(0)
    model = Slots()
    values, shift = torch.randn(5, 4), torch.randn(5, 4)

    def output(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        slots: Tensor = model(**batch)["slots"]
        return slots.flatten(1)

    batches = [{"values": values[:3], "shift": shift[:3]}, {"values": values[3:], "shift": shift[3:]}]
    ours = estimate_importance(model, batches, output=output, max_samples=4)
    plain = nn.Linear(4, 6)
    plain.load_state_dict(
        {
            "weight": torch.cat([head.weight for head in model.heads]),  # type: ignore[misc]
            "bias": torch.cat([head.bias for head in model.heads]),  # type: ignore[misc]
        }
    )
    expected = estimate_importance(plain, [(values + shift)[:4]])
    torch.testing.assert_close(torch.cat([ours[f"heads.{i}.weight"] for i in range(3)]), expected["weight"])
    torch.testing.assert_close(torch.cat([ours[f"heads.{i}.bias"] for i in range(3)]), expected["bias"])


@pytest.mark.parametrize("mode", ["exact", "batched"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(mode: Any, fails: bool) -> None:
    model = network()
    model.train()
    model[1].eval()
    model[5].bias.requires_grad_(False)
    model[5].weight.grad = torch.ones(5, 64)
    gradient = model[5].weight.grad
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    inputs = pictures()
    before = inputs.clone()

    def batches() -> Iterator[Tensor]:
        yield inputs[:4]
        torch.rand(3)
        model[3].train()
        model.zero_grad()
        if fails:
            raise RuntimeError("the disk is gone")
        yield inputs[4:]

    def estimate() -> None:
        estimate_importance(model, batches(), mode=mode)

    if fails:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            estimate()
    else:
        estimate()
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["5.bias"]
    assert model[5].weight.grad is gradient
    assert torch.equal(gradient, torch.ones(5, 64))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "5.weight")
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad


def test_buffers_that_a_forward_writes_are_put_back() -> None:
    class Counting(nn.Module):
        steps: Tensor
        last: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("steps", torch.zeros(()))
            self.register_buffer("last", torch.zeros(1))

        def forward(self, values: Tensor) -> Tensor:
            self.steps += 1
            self.last = values.detach().sum(0)
            result: Tensor = self.layer(values)
            return result

    model = Counting()
    last = model.last
    estimate_importance(model, [torch.randn(4, 3)])
    assert model.steps.item() == 0
    assert model.last is last


@pytest.mark.parametrize("mode", ["exact", "batched"])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_under_a_callers_context(context: Any, mode: Any) -> None:
    expected = estimate_importance(network(), [pictures()], mode=mode)
    fresh = network()  # nothing is remembered of it: everything is checked in the caller's context
    with context():
        ours = estimate_importance(fresh, [pictures()], mode=mode)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


class Normalised(nn.Module):
    def __init__(self, slots: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        self.encode = network()
        self.slots = slots
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images: Tensor) -> Tensor:
        vectors = self.encode(images)
        return torch.cat([F.normalize(vectors, dim=1)] * self.slots, dim=1) * self.scale


@pytest.mark.parametrize("mode", ["exact", "batched"])
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [2], [64, 64], [1, 64]])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_normalised_output_is_refused(mode: Any, sizes: list[int], slots: int) -> None:
    batches = pictures(sum(sizes)).split(sizes)
    with pytest.raises(UserError, match="norm of a normalised output is constant"):
        estimate_importance(Normalised(slots, scale=2.5), batches, mode=mode)
    model = Normalised(slots)
    omega = (
        estimate_importance(model, batches, output=lambda model, batch: model.get_submodule("encode")(batch), mode=mode)
        if sizes == [2]
        else {}
    )
    assert all(bool(value.any()) for name, value in omega.items() if name != "scale")


def test_layer_norm_without_parameters_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32, elementwise_affine=False, eps=1e-12))
    with pytest.raises(UserError, match="pass the embedding before normalisation"):
        estimate_importance(model, [torch.randn(32, 8)])


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("count", [1, 2, 64])
def test_no_false_alarm(scale: float, count: int) -> None:
    model = network()
    with torch.no_grad():
        for parameter in model[5].parameters():
            parameter.mul_(scale)
    estimate_importance(model, [pictures(1).expand(count, -1, -1, -1)])  # equal samples, equal norms
    estimate_importance(model, [pictures(count)])
    torch.manual_seed(0)
    estimate_importance(nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.Linear(32, 4)), [torch.randn(count, 8)])


def test_no_false_alarm_where_only_few_parameters_set_the_length() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.direction, self.length = nn.Linear(8, 32), nn.Linear(8, 1)

        def forward(self, values: Tensor) -> Any:
            return F.normalize(self.direction(values), dim=1) * self.length(values)

    torch.manual_seed(0)
    estimate_importance(Scaled(), [torch.randn(4, 8)])


def test_an_output_of_zero_is_refused() -> None:
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(UserError, match="zero for every parameter"):
        estimate_importance(model, [torch.randn(4, 3)])


@pytest.mark.parametrize("mode", ["exact", "batched"])
@pytest.mark.parametrize("where", [0, 1, 5])
def test_a_value_that_is_not_finite_names_the_parameter(mode: Any, where: int) -> None:
    inputs = pictures(6)
    inputs[where, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"parameter '0\.weight' is not finite"):
        estimate_importance(network(), inputs.split(4), mode=mode)


def test_wrong_use() -> None:
    model, inputs = network(), pictures()
    with pytest.raises(UserError, match="no samples"):
        estimate_importance(model, [])
    with pytest.raises(UserError, match="no samples"):
        estimate_importance(model, [inputs[:0]], mode="batched")
    with pytest.raises(UserError, match="max_samples must be at least 1"):
        estimate_importance(model, [inputs], max_samples=0)
    with pytest.raises(UserError, match="did you mean 'exact'"):
        estimate_importance(model, [inputs], mode="exakt")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="did you mean 'square'"):
        estimate_importance(model, [inputs], statistic="squares")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="memory_limit_mb"):
        estimate_importance(model, [inputs], memory_limit_mb=0)
    with pytest.raises(UserError, match="requires_grad=True"):
        estimate_importance(nn.Flatten(), [inputs])
    with pytest.raises(UserError, match="first axis must be the samples"):
        estimate_importance(model, [inputs], output=lambda model, batch: model(batch).sum(0))
    with pytest.raises(UserError, match="floating-point tensor"):
        estimate_importance(model, [inputs], output=lambda model, batch: {"y": model(batch)})  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match="a batch must be a tensor"):
        estimate_importance(model, ["photo.jpg"])
