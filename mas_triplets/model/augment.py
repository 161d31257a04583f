"""Random changes to training pictures, a whole batch at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mas_triplets.config import AugmentationConfig


def augmented(pictures: Tensor, config: AugmentationConfig) -> Tensor:
    """Return pictures (N, H, W, 3), uint8, each cut to a random square of random side and mirrored or not.

    Sides are uniform in [config.crop, 1] of the picture's, places uniform within it; half are mirrored if
    `config.flip`. Random numbers come from the processor's generator, so that a seed gives the same on every device.
    """
    if not config.changes:
        return pictures
    count, device = len(pictures), pictures.device
    side = config.crop + (1 - config.crop) * torch.rand(count)
    place = (2 * torch.rand(count, 2) - 1) * (1 - side)[:, None]
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if config.flip else torch.ones(count)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = side * mirror, side, place
    planes = pictures.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(matrix.to(device), list(planes.shape), align_corners=False)
    drawn = F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return drawn.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
