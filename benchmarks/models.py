"""The models that importance and training steps are measured on, with random weights."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn


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


class Encoder(nn.Module):
    """An encoder of which one method, or one entry of the result, is the embedding."""

    def __init__(self, network: Any, which: str) -> None:
        super().__init__()
        self.network, self.which = network, which

    def forward(self, images: Tensor) -> Any:
        """Return (batch, features)."""
        if self.which == "extract_features":
            return self.network.extract_features(images).mean((2, 3))
        return self.network(pixel_values=images)[self.which]


def as_trained(model: nn.Module, batch: Tensor) -> nn.Module:
    """Return the model in eval mode with running statistics, and scales of LayerNorm, as training would leave them.

    With those of a fresh model the output of a deep network hardly depends on the picture, or its norm is constant.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of this batch
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        model.train()(batch)
    return model.eval()


def torchvision_model(name: str, **options: Any) -> nn.Module:
    """Return a torchvision model; the head of a vision transformer, fresh, would be zero."""
    model: nn.Module = getattr(importlib.import_module("torchvision.models"), name)(**options)
    if name.startswith("vit"):
        nn.init.normal_(model.get_parameter("heads.head.weight"), 0, 0.1)
    return model


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-lite0 of the extra `offline`, for pictures of 64 pixels."""
    kind: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    network: Any = kind.from_name("efficientnet-lite0", image_size=64)
    network._fc = nn.Identity()
    return Encoder(network, "extract_features")


_SMALL = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}


def clip_small() -> nn.Module:
    """Return the image tower of a small CLIP: pictures of 112 pixels, 50 tokens."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.CLIPVisionConfig(
        **_SMALL, intermediate_size=1024, image_size=112, patch_size=16, projection_dim=128
    )
    return Encoder(transformers.CLIPVisionModelWithProjection(config), "image_embeds")


def dinov2_small() -> nn.Module:
    """Return a small DINOv2: pictures of 112 pixels, 65 tokens."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.Dinov2Config(**_SMALL, image_size=112, patch_size=14, layerscale_value=0.5)
    return Encoder(transformers.Dinov2Model(config), "pooler_output")
