"""A small convolutional encoder, learnt from scratch."""

from __future__ import annotations

import itertools
from collections import OrderedDict

from torch import nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.data.view import View
from mas_triplets.model.images.encoder import ImageEncoder

_SIZE = 48


class SmallCnn(ImageEncoder):
    """3x3 convolutions of stride 2 with ReLU and no normalisation layer, flattened; learnt from scratch.

    Its blocks are conv1, conv2 and so on.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        blocks: dict[str, nn.Module] = {}
        for number, (before, after) in enumerate(itertools.pairwise((3, *config.channels)), 1):
            layers = [("conv", nn.Conv2d(before, after, 3, stride=2, padding=1)), ("relu", nn.ReLU())]
            if number == len(config.channels):
                layers.append(("flatten", nn.Flatten()))
            blocks[f"conv{number}"] = nn.Sequential(OrderedDict(layers))
        grey = (127.5,) * 3
        super().__init__(config, View(config.size or _SIZE), grey, grey, blocks, about=f"{len(blocks)} convolutions")
