"""Image encoders."""

from __future__ import annotations

from collections.abc import Callable

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.errors import unknown
from mas_triplets.model.images.checks import check_keys
from mas_triplets.model.images.encoder import ImageEncoder
from mas_triplets.model.images.packaged import EfficientNetLite0
from mas_triplets.model.images.small_cnn import SmallCnn
from mas_triplets.model.images.torchvision_models import TorchvisionEncoder
from mas_triplets.model.images.towers import TransformersEncoder

IMAGE_ENCODERS: dict[str, Callable[[ImageEncoderConfig], ImageEncoder]] = {
    "cnn": SmallCnn,
    "efficientnet-lite0": EfficientNetLite0,
    "packaged": EfficientNetLite0,
    "torchvision": TorchvisionEncoder,
    "transformers": TransformersEncoder,
}
"""Image encoders by the name used in a configuration."""


def make_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """Build the encoder that `config.name` names; what is frozen of it has no parameter that asks for a gradient.

    Raises:
        UserError: the name is unknown, keys do not go together, its package is not installed, or its weights cannot be
            found.
    """
    if config.name not in IMAGE_ENCODERS:
        raise unknown("image encoder", config.name, IMAGE_ENCODERS)
    check_keys(config)
    return IMAGE_ENCODERS[config.name](config)


__all__ = ["IMAGE_ENCODERS", "ImageEncoder", "make_image_encoder"]
