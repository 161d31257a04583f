"""Per-sample statistics against the plain loop: one ordinary backward pass a sample."""

from __future__ import annotations

import importlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mas_triplets.errors import UserError
from mas_triplets.lifelong.importance import squared_norm
from mas_triplets.lifelong.per_sample import fallback, run
from mas_triplets.lifelong.per_sample.gradients import Workspace
from mas_triplets.lifelong.per_sample.statistics import per_sample_statistics

Values = dict[str, Tensor]
vision: Any = importlib.import_module("torchvision.models")  # it comes without types


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def loop(
    model: nn.Module,
    inputs: Tensor,
    statistic: str = "abs",
    output: Callable[[nn.Module, Tensor], Tensor] | None = None,
) -> Values:
    """The definition, in eval mode and double precision: one sample, one backward pass."""
    training = model.training
    model.eval().double()
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    for sample in inputs.split(1):
        value = (output or (lambda model, batch: model(batch)))(model, sample).square().sum()
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        for total, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:
                total += gradient.abs() if statistic == "abs" else gradient.square()
    model.float().train(training)
    return {name: (total / len(inputs)).float() for name, total in zip(names, totals, strict=True)}


def assert_equal(ours: Values, expected: Values, tolerance: float = 1e-5) -> None:
    assert list(ours) == list(expected)
    for name, value in expected.items():
        assert ours[name].dtype == torch.float32
        assert ours[name].shape == value.shape
        error = float((ours[name] - value).norm() / value.norm().clamp_min(1e-30))
        assert error < tolerance, f"{name}: relative error {error:.2e}"


class NoFallbackError(Exception):
    """A parameter left the fast way."""


@contextmanager
def rules_alone() -> Iterator[None]:
    def refuse(self: Any, totals: Any, batch: Any, names: Any) -> None:
        raise NoFallbackError(sorted(names))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fallback.Fallback, "add", refuse)
        yield


@pytest.fixture
def only_rules() -> Iterator[None]:
    with rules_alone():
        yield


def check(model: nn.Module, inputs: Tensor, statistic: Any = "abs", **options: Any) -> None:
    batches = inputs.split(max(2, len(inputs) - 1))  # the last batch is shorter
    ours = per_sample_statistics(model, batches, squared_norm, statistic=statistic, **options)
    assert_equal(ours, loop(model, inputs, statistic))


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model


class DemoNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 32, 64, 128]
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList(nn.Linear(256, 50) for _ in range(3))

    def forward(self, images: Tensor) -> Any:
        features = self.trunk(images)
        return torch.cat([head(features) for head in self.heads], dim=1)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16) / 4)
        self.positions = nn.Parameter(torch.randn(1, 17, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.attention = nn.MultiheadAttention(16, 2, kdim=16, vdim=8, batch_first=True)
        self.values = nn.Linear(16, 8)
        self.project = nn.Parameter(torch.randn(16, 6) / 4)

    def forward(self, images: Tensor) -> Any:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], dim=1) + self.positions
        tokens = self.encoder(tokens)
        seen, _ = self.attention(tokens[:, :1], tokens, self.values(tokens))
        return seen[:, 0] @ self.project


class Text(nn.Module):
    """Word and position tables, as in CLIP: positions are looked up once for the whole batch."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8, padding_idx=0)
        self.places = nn.Embedding(6, 8)
        self.register_buffer("positions", torch.arange(6)[None])
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, words: Tensor) -> Any:
        tokens = self.words(words) + self.places(self.positions[:, : words.shape[1]])
        tokens = tokens + torch.tanh(self.mix(self.norm(tokens)))
        return F.linear(tokens.mean(1), self.words.weight) * self.scale  # tied to the table of words


class Frames(nn.Module):
    """Video: frames share the sample axis inside the image encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))
        self.last = nn.Linear(5, 4)

    def forward(self, video: Tensor) -> Any:
        samples, frames = video.shape[:2]
        features = self.encode(video.flatten(0, 1)).view(samples, frames, -1)
        return self.last(features).mean(1)


class TimeFirst(nn.Module):
    """Positions before samples on the axes, and then folded into one axis with the samples inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, values: Tensor) -> Any:
        hidden = torch.tanh(self.first(values.transpose(0, 1)))
        folded = self.second(hidden.reshape(-1, 4))
        return folded.view(values.shape[1], -1, 5).sum(0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(7, 4)

    def forward(self, values: Tensor) -> Any:
        state = values.new_zeros(len(values), 4)
        for step in values.unbind(1):
            state = torch.tanh(self.cell(torch.cat([state, step], dim=1)))
        return state


class Everything(nn.Module):
    """Odd uses: a weight slice, a transposed weight, a normalised weight, a frozen one, an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.randn(6, 8) / 3)
        self.normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 6))
        self.offset = nn.Parameter(torch.randn(6))
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.unused = nn.Linear(2, 2)

    def forward(self, values: Tensor) -> Any:
        hidden = torch.tanh(F.linear(values, self.whole[:4]))
        hidden = hidden - self.offset[:4] * 2
        hidden = hidden @ self.whole[:4] + F.linear(values, self.whole.t()[:, :6].t())[:, :1]
        hidden = self.frozen(self.normed(hidden)) * self.offset
        return self.offset - hidden


def images(count: int, channels: int = 3, size: int = 16) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "demo": (DemoNet, images(6)),
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(6, 5)),
    "resnet18": (lambda: vision.resnet18(num_classes=10), images(3, size=32)),
    "mobilenet": (lambda: vision.mobilenet_v3_small(num_classes=10), images(3, size=32)),
    "transformer": (Transformer, images(4)),
    "text": (Text, torch.randint(0, 11, (5, 4), generator=torch.Generator().manual_seed(2))),
    "words": (
        lambda: nn.Sequential(nn.Embedding(11, 3), nn.Flatten(), nn.Linear(12, 4), nn.Tanh()),
        torch.randint(0, 11, (5, 4), generator=torch.Generator().manual_seed(2)),
    ),
    "frames": (Frames, images(4 * 3, 2, 5).view(4, 3, 2, 5, 5)),
    "time first": (TimeFirst, images(4, 1, 5).view(4, 25)[:, :15].reshape(4, 5, 3)),
    "time as long as the batch": (TimeFirst, images(5, 1, 5).view(5, 25)[:, :15].reshape(5, 5, 3)),
    "recurrent": (Recurrent, images(4, 1, 6)[:, 0, :, :3]),
    "shared module": (
        lambda: nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1)] * 2, nn.Tanh(), nn.Flatten()),
        images(4, size=4),
    ),
    "norms": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.LayerNorm([4, 4, 4]), nn.Flatten()),
        images(4, size=6),
    ),
    "batchnorm1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(True), nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5)
        ),
        images(4, size=6)[:, :, 0],
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("statistic", ["abs", "square"])
def test_models_equal_the_loop_by_rules_alone(name: str, statistic: str, only_rules: None) -> None:
    build, inputs = MODELS[name]
    if statistic == "square" and name in ("resnet18", "mobilenet"):
        pytest.skip("the rules are the same as in the smaller models")
    check(seeded(build), inputs, statistic)


def test_direct_and_derived_uses_equal_the_loop(only_rules: None) -> None:
    model = seeded(Everything)
    inputs = torch.randn(5, 8)
    with pytest.warns(UserWarning, match=r"importance zero: unused\.bias, unused\.weight"):
        ours = per_sample_statistics(model, inputs.split(4), squared_norm)
    assert not any(name.startswith("frozen") for name in ours)
    assert_equal(ours, loop(model, inputs))
    assert not ours["unused.weight"].any()


@pytest.mark.parametrize("limit", [1e-4, 3e-3, 512])
def test_memory_limit_changes_nothing(limit: float) -> None:
    for name in ("demo", "transformer", "shared module"):
        build, inputs = MODELS[name]
        check(seeded(build), inputs, memory_limit_mb=limit)


@pytest.mark.parametrize("limit", [6000, 20000])
def test_large_layers_are_cut_into_blocks(limit: int, monkeypatch: pytest.MonkeyPatch, only_rules: None) -> None:
    taken: dict[str, int] = {}

    def take(self: Workspace, use: str, shape: Sequence[int], like: Tensor) -> Tensor:
        taken[use] = max(taken.get(use, 0), 4 * math.prod(shape))
        return like.new_empty(*shape)

    monkeypatch.setattr(Workspace, "take", take)
    monkeypatch.setattr(run, "CACHE_BYTES", limit)
    model = seeded(lambda: nn.Sequential(nn.Conv2d(6, 12, 3, groups=3), nn.Tanh(), nn.Conv2d(12, 9, 3), nn.Flatten()))
    check(model, images(5, 6, 7))
    assert limit / 10 < taken["gradient"] <= limit / 4
    assert limit / 10 < taken["windows"] + taken["padded"] <= limit / 2
    assert taken["total"] <= limit / 4


def test_large_pictures_are_cut_into_spans(monkeypatch: pytest.MonkeyPatch, only_rules: None) -> None:
    monkeypatch.setattr(run, "CACHE_BYTES", 8000)  # the windows of one picture take 25 kB
    for layer in (nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(3, 6, (1, 5), groups=3, dilation=2)):
        check(nn.Sequential(layer, nn.Tanh(), nn.Flatten()), images(3, 3, 30))


def test_parameters_in_channels_last_order(only_rules: None) -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3), nn.Flatten()))
    model.to(memory_format=torch.channels_last)
    check(model, images(4, 3, 7).to(memory_format=torch.channels_last))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    narrow, wide = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 2)) for _ in range(axes))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(axes))
    padding: Any = draw(st.sampled_from(["valid", "same", "numbers"]))
    if padding == "same":
        stride = (1,) * axes
    if padding == "numbers":
        padding = tuple(draw(st.integers(0, 2)) for _ in range(axes))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"])) if axes < 3 else "zeros"
    torch.manual_seed(draw(st.integers(0, 1000)))
    layer = kind(narrow, wide, kernel, stride, padding, dilation, groups, draw(st.booleans()), padding_mode=mode)
    size = [draw(st.integers(5, 7)) for _ in range(axes)]
    inputs = torch.randn(draw(st.integers(2, 4)), narrow, *size)
    if axes == 2 and draw(st.booleans()):
        inputs = inputs.to(memory_format=torch.channels_last)
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten()), inputs


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_any_convolution_equals_the_loop(case: tuple[nn.Module, Tensor]) -> None:
    model, inputs = case
    with rules_alone():
        ours = per_sample_statistics(model, [inputs], squared_norm)
    assert_equal(ours, loop(model, inputs))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(["text", "transformer", "mlp"]))
def test_the_division_into_batches_does_not_matter(sizes: list[int], name: str) -> None:
    build, example = MODELS[name]
    model = seeded(build)
    inputs = example[torch.arange(sum(sizes)) % len(example)]
    if inputs.is_floating_point():
        inputs = inputs * torch.linspace(0.5, 1.5, len(inputs)).view(-1, *[1] * (inputs.ndim - 1))
    whole = per_sample_statistics(model, [inputs], squared_norm)
    assert_equal(per_sample_statistics(model, inputs.split(sizes), squared_norm), whole)


class Hidden(torch.autograd.Function):
    """x * w where no torch function is seen to take w."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(value, weight)
        return value * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        value, weight = ctx.saved_tensors
        return gradients[0] * weight, (gradients[0] * value).sum(0)


class HiddenUse(nn.Module):
    """One weight used twice: by a layer, and where nobody sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, values: Tensor) -> Any:
        return Hidden.apply(torch.tanh(self.layer(values)), self.layer.bias) + self.layer(values)


def test_a_use_that_nobody_sees_is_noticed() -> None:
    model, inputs = seeded(HiddenUse), torch.randn(5, 3)
    with pytest.warns(UserWarning, match=r"'layer\.bias' need one backward pass a sample"):
        ours = per_sample_statistics(model, [inputs], squared_norm)
    assert_equal(ours, loop(model, inputs))


def test_compiled_code_is_noticed() -> None:
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.second = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh()))

        def forward(self, values: Tensor) -> Any:
            return self.first(self.second(values))

    torch.manual_seed(0)
    model, inputs = Scripted(), torch.randn(5, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_equal(per_sample_statistics(model, [inputs], squared_norm), loop(model, inputs))


class Branching(nn.Module):
    """Control flow that depends on the data of each sample: vmap cannot follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.curve = nn.PReLU()

    def forward(self, values: Tensor) -> Any:
        hidden = self.layer(values)
        if len(values) == 1 and float(hidden.sum()) > 1e9:
            hidden = hidden * 2
        return self.curve(hidden)


def test_the_loop_is_the_last_resort() -> None:
    model, inputs = seeded(Branching), torch.randn(6, 3)
    with pytest.warns(UserWarning, match=r"'curve\.weight' need one backward pass a sample"):
        ours = per_sample_statistics(model, [inputs], squared_norm)
    assert_equal(ours, loop(model, inputs))


class LateUse(nn.Module):
    """After the first batch a weight is used in a way that no rule covers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, values: Tensor) -> Any:
        hidden = self.layer(values)
        if float(values.detach().abs().max()) > 50:
            hidden = hidden + torch.einsum("bi,oi->bo", values, self.layer.weight.tanh())
        return hidden


def test_a_use_that_comes_later_is_noticed() -> None:
    model = seeded(LateUse)
    first, second = torch.randn(3, 3), 100 + torch.randn(3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = per_sample_statistics(model, [first, second], squared_norm)
    assert_equal(ours, loop(model, torch.cat([first, second])))


@pytest.mark.parametrize("detached", [False, True])
def test_samples_that_influence_each_other_count_one_at_a_time(detached: bool) -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, values: Tensor) -> Any:
            hidden: Tensor = torch.tanh(self.layer(values))
            return hidden * (2 + (hidden.detach() if detached else hidden).mean(0, keepdim=True))

    model, inputs = seeded(Mixing), torch.randn(5, 3)
    assert_equal(per_sample_statistics(model, [inputs], squared_norm), loop(model, inputs))


def test_batch_statistics_count_one_at_a_time() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, track_running_stats=False), nn.Tanh(), nn.Flatten()
    )
    inputs = images(4, size=6)
    assert_equal(per_sample_statistics(model, [inputs], squared_norm), loop(model, inputs))


def test_what_was_learnt_is_not_used_for_another_forward() -> None:
    model, inputs = seeded(Recurrent), MODELS["recurrent"][1]
    check(model, inputs)
    hidden = nn.Parameter(torch.ones(4))
    model.register_parameter("late", hidden)
    model.forward = lambda values: Hidden.apply(Recurrent.forward(model, values), hidden)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="'late' need one backward"):
        check(model, inputs)


def test_objective_with_labels_gives_the_fisher() -> None:
    """EWC's exact diagonal: mean of squared gradients of the log-likelihood of each sample's label."""
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
    inputs, labels = torch.randn(7, 4), torch.randint(0, 3, (7,))

    def objective(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return -F.cross_entropy(output, batch[1], reduction="none")

    batches = [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])]
    ours = per_sample_statistics(model, batches, objective, statistic="square")
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for one, label in zip(inputs, labels, strict=True):
        value = F.cross_entropy(model(one[None]), label[None])
        gradients = torch.autograd.grad(value, list(model.parameters()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient.square() / 7
    assert_equal(ours, expected)


def test_double_precision_is_kept_inside() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))).double()
    inputs = images(4, size=6).double()
    ours = per_sample_statistics(model, [inputs], squared_norm)
    assert_equal(ours, loop(model, inputs), tolerance=1e-7)


def test_half_precision_models_are_summed_in_float32(only_rules: None) -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    expected = loop(model, torch.ones(1, 6) * torch.linspace(0.5, 1, 5)[:, None])
    model.bfloat16()
    ours = per_sample_statistics(
        model, [torch.ones(1, 6).bfloat16() * torch.linspace(0.5, 1, 5).bfloat16()[:, None]], squared_norm
    )
    assert_equal(ours, expected, tolerance=0.05)


def test_objective_of_the_wrong_shape() -> None:
    with pytest.raises(UserError, match="one number a sample"):
        per_sample_statistics(nn.Linear(2, 2), [torch.ones(3, 2)], lambda output, batch: output)
