"""What tests of image encoders share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.model.images import ImageEncoder, make_image_encoder


def make(seed: int = 0, **keys: Any) -> ImageEncoder:
    """Build an encoder whose random weights depend on `seed` alone; a path may be given for a name."""
    plain: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_image_encoder(ImageEncoderConfig(**plain))


def pictures(side: int, count: int = 2) -> Tensor:
    """Return noise, the same each time."""
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal but for rounding, and not zero."""
    one, other = one.detach(), other.detach()
    scale = float(other.abs().max())
    return one.shape == other.shape and scale > 0 and float((one - other).abs().max()) <= 2e-6 * scale
