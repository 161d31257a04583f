"""Learning without Forgetting: distillation of the model before the task."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lifelong_runs import ONE_BATCH, config_of, euclidean, facts_of, known_pairs, pixels_of
from small_run import small_data
from torch import Tensor, nn
from toy_tasks import method, toy_model, toy_task, whole

from mas_triplets.lifelong import Strategy
from mas_triplets.lifelong.lwf import LearningWithoutForgetting
from mas_triplets.training.run import train


def begun(model: nn.Module, number: int = 2, weight: float = 1.0) -> Strategy:
    lwf = method("lwf", distillation=weight)
    lwf.before_task(model, toy_task(number))
    return lwf


def test_loss_and_gradient_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    lwf = begun(model, weight=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    extra = lwf.extra_loss(model, x, model(x))
    assert extra is not None
    assert extra.item() == 1.25  # 0.5 / 2 * ((3 - 2)^2 + (6 - 4)^2): a sum, which training divides by the pictures
    extra.backward()
    assert model.weight.grad is not None
    assert model.weight.grad.item() == 2.5  # 0.5 * (1 * 1 + 2 * 2)


def test_the_old_model_is_that_before_the_task_and_never_changes() -> None:
    model, x = toy_model(), whole(toy_task())[0]
    lwf, old = begun(model), copy.deepcopy(model)
    for _ in range(3):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1)
        lwf.after_step(model, 0.1, x)
        extra = lwf.extra_loss(model, x, model(x))
        assert extra is not None
        expected = sum(0.5 * (new - before).square().sum() for new, before in zip(model(x), old(x), strict=True))
        torch.testing.assert_close(extra, expected)
    lwf.before_task(model, toy_task(3))
    extra = lwf.extra_loss(model, x, model(x))
    assert extra is not None
    assert extra.item() == 0


def test_nothing_is_added_in_the_first_task_or_without_pictures() -> None:
    model, x = toy_model(), whole(toy_task())[0]
    first = begun(model, number=1)
    assert first.extra_loss(model, x, model(x)) is None
    assert first.state_tensors() == {}
    assert begun(model, weight=0).extra_loss(model, x, model(x)) is None
    assert begun(model).extra_loss(model, x[:0], model(x[:0])) is None


def test_the_old_model_is_in_eval_mode_and_draws_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)).train()
    lwf, x = begun(model), torch.randn(5, 4)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    embedding = torch.zeros(5, 6)
    state = torch.get_rng_state()
    extra = lwf.extra_loss(model, x, embedding)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
    assert model.training
    assert extra is not None
    torch.testing.assert_close(extra, 0.5 * model.eval()(x).square().sum())


def test_one_copy_is_kept_and_what_is_frozen_is_shared() -> None:
    model, x = toy_model(), whole(toy_task())[0]
    model[0].requires_grad_(False)
    lwf = begun(model)
    assert isinstance(lwf, LearningWithoutForgetting)
    lwf.extra_loss(model, x, model(x))
    kept = lwf.state_tensors()
    assert set(kept) == {"2.weight", "2.bias"}
    assert lwf._old is not None
    old = dict(lwf._old.named_parameters())
    assert old["0.weight"].data_ptr() == model.get_parameter("0.weight").data_ptr()
    assert all(value.data_ptr() == old[name].data_ptr() for name, value in kept.items())
    assert lwf.memory_bytes(model) == sum(value.numel() * value.element_size() for value in kept.values())


def test_goes_on_within_a_task_to_the_same_bits() -> None:
    model, x = toy_model(), whole(toy_task())[0]
    lwf = begun(model)
    with torch.no_grad():
        model.get_parameter("0.weight").add_(0.3)
    again = method("lwf")
    again.load_state_tensors({name: value.clone() for name, value in lwf.state_tensors().items()})
    found = [one.extra_loss(model, x, model(x)) for one in (lwf, again)]
    assert isinstance(found[0], Tensor)
    assert isinstance(found[1], Tensor)
    assert torch.equal(found[0], found[1])


def test_a_run_equals_a_plain_loop(tmp_path: Path) -> None:
    small_data(tmp_path)
    settings = {**ONE_BATCH, "lifelong__distillation": 0.7, "train__epochs": 3}
    run = train(config_of(tmp_path, lifelong__strategy="lwf", **settings), tmp_path / "run")
    model, old = run.load_model(1).train(), run.load_model(1)
    pairs = known_pairs(run, facts_of(run, 2))
    images = sorted(pairs)
    x = pixels_of(run, images)
    for _ in range(3):
        F = model(x)
        distilled = 0.7 * (F - old(x).detach()).square().sum() / (2 * len(x))
        gradients = torch.autograd.grad(
            euclidean(run, F, [pairs[image] for image in images]) + distilled, list(model.parameters())
        )
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.sub_(0.05 * gradient)
    for name, value in run.load_model(2).named_parameters():
        torch.testing.assert_close(value, model.get_parameter(name), rtol=1e-4, atol=1e-6)
        assert not torch.equal(value, old.get_parameter(name))


@pytest.mark.parametrize("weight", [0.0, 1e3])
def test_the_weight_decides_how_far_the_embedding_goes(tmp_path: Path, weight: float) -> None:
    small_data(tmp_path)
    settings = {**ONE_BATCH, "train__learning_rate": 1e-4, "train__epochs": 4}
    far = train(config_of(tmp_path, lifelong__strategy="finetune", **settings), tmp_path / "far")
    run = train(
        config_of(tmp_path, lifelong__strategy="lwf", lifelong__distillation=weight, **settings), tmp_path / "r"
    )
    x = pixels_of(run, [0, 1, 2, 3])
    with torch.no_grad():
        moved = [float((one.load_model(2)(x) - one.load_model(1)(x)).norm()) for one in (run, far)]
    assert moved[0] == moved[1] if weight == 0 else moved[0] < 0.9 * moved[1]
