"""What the blocks of torchvision's classification networks are, in order, up to the features before the classifier.

A network is written down as the steps it takes; that they give what the network's own forward gives is tested for
every family. A class that is not known here is run as it is, in one block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.model.images.steps import FirstToken, Mean, Step, expanded, gathered

USUAL_BRANCH = {"VGG": "conv4_1", "AlexNet": "conv5", "ResNet": "layer4"}
"""Where the branches of a network begin, by its class.

VGG's is that of Sherlock's Model 2 in its authors' code: conv1_1 to pool3 is shared, conv4_1 to fc7 is there for S and
for P and O.
"""


def torchvision_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks of a network whose last linear layer is cut off (see `cut_classifier`), by name."""
    kind = type(network).__name__
    if kind == "VisionTransformer":
        return _vit(network)
    if kind in _STEPS:
        return gathered(_STEPS[kind](network))
    return {"network": network}


def cut_classifier(network: nn.Module) -> list[str]:
    """Replace the last linear layer by the identity, and drop auxiliary outputs.

    SqueezeNet, which has none but a convolution to classes, loses its classifier. Returns the names of what is gone.
    """
    gone = [name for name in ("aux1", "aux2", "AuxLogits") if hasattr(network, name)]
    for name in gone:
        setattr(network, name, None)
    linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
    last = "classifier" if type(network).__name__ == "SqueezeNet" else linear[-1]
    parent, _, own = last.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return [*gone, last]


def _vgg(network: Any) -> Iterator[Step]:
    """Name layers as the paper does: conv1_1 to conv5_3, fc6, fc7."""
    stage, number = 1, 0
    for name, module in expanded(network.features, "features"):
        if isinstance(module, nn.Conv2d):
            number += 1
            name = f"conv{stage}_{number}"
        yield name, module
        if isinstance(module, nn.MaxPool2d):
            stage, number = stage + 1, 0
    yield from _linear_layers(network)


def _alexnet(network: Any) -> Iterator[Step]:
    """conv1 to conv5, fc6, fc7."""
    number = 0
    for name, module in expanded(network.features, "features"):
        if isinstance(module, nn.Conv2d):
            number += 1
            name = f"conv{number}"
        yield name, module
    yield from _linear_layers(network)


def _linear_layers(network: Any) -> Iterator[Step]:
    yield "avgpool", network.avgpool
    yield "flatten", nn.Flatten()
    number = 6
    for name, module in expanded(network.classifier, "classifier"):
        if isinstance(module, nn.Linear):
            name, number = f"fc{number}", number + 1
        yield name, module


def _children(network: nn.Module) -> Iterator[Step]:
    """All parts in the order in which they are defined and called, then what comes before the classifier.

    Serves ResNet, RegNet, ShuffleNetV2, GoogLeNet, Inception3 and MaxVit.
    """
    from torchvision.models.regnet import AnyStage

    for name, module in network.named_children():
        if isinstance(module, nn.Identity):
            continue
        if isinstance(module, nn.ModuleList):
            yield from ((f"{name}_{child}", part) for child, part in module.named_children())
        else:
            yield from expanded(module, name, (AnyStage,))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            yield "flatten", nn.Flatten()
    if type(network).__name__ == "ShuffleNetV2":
        yield "mean", Mean((2, 3))


def _with_features(network: Any) -> Iterator[Step]:
    """`features`, then pooling and what the classifier does before its last layer."""
    kind = type(network).__name__
    yield from expanded(network.features, "" if kind == "DenseNet" else "features")
    if kind == "DenseNet":
        yield "relu", nn.ReLU(inplace=True)
    if kind == "SwinTransformer":
        yield "norm", network.norm
        yield "permute", network.permute
    if kind == "SqueezeNet" or kind == "DenseNet" or kind == "MobileNetV2":
        yield "avgpool", nn.AdaptiveAvgPool2d(1)
    else:
        yield "avgpool", network.avgpool
    if kind != "ConvNeXt":  # whose classifier flattens after its normalisation
        yield "flatten", nn.Flatten()
    if hasattr(network, "classifier"):
        yield from expanded(network.classifier, "classifier")


def _mnasnet(network: Any) -> Iterator[Step]:
    yield from expanded(network.layers, "layers")
    yield "mean", Mean((2, 3))
    yield from expanded(network.classifier, "classifier")


class _VitEmbeddings(nn.Module):
    """Pictures to tokens: patches, the class token before them, positions; (N, 3, H, W) to (N, tokens, width)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv_proj, self.dropout = network.conv_proj, network.encoder.dropout
        self.class_token, self.pos_embedding = network.class_token, network.encoder.pos_embedding

    def forward(self, planes: Tensor) -> Tensor:
        patches = self.conv_proj(planes).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        result: Tensor = self.dropout(tokens + self.pos_embedding)
        return result


def _vit(network: Any) -> dict[str, nn.Module]:
    """layer0, with the embeddings before it, and so on; the last with the final normalisation."""
    layers = list(network.encoder.layers)
    steps: list[OrderedDict[str, nn.Module]] = [OrderedDict(layer=layer) for layer in layers]
    steps[0] = OrderedDict(embeddings=_VitEmbeddings(network), **steps[0])
    steps[-1].update(norm=network.encoder.ln, token=FirstToken(), heads=network.heads)
    return {f"layer{i}": nn.Sequential(own) for i, own in enumerate(steps)}


_STEPS: dict[str, Callable[[Any], Iterator[Step]]] = {
    "AlexNet": _alexnet,
    "ConvNeXt": _with_features,
    "DenseNet": _with_features,
    "EfficientNet": _with_features,
    "GoogLeNet": _children,
    "Inception3": _children,
    "MNASNet": _mnasnet,
    "MaxVit": _children,
    "MobileNetV2": _with_features,
    "MobileNetV3": _with_features,
    "RegNet": _children,
    "ResNet": _children,
    "ShuffleNetV2": _children,
    "SqueezeNet": _with_features,
    "SwinTransformer": _with_features,
    "VGG": _vgg,
}
