"""How a picture, or a box of it, is drawn to the square that an encoder sees."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mas_triplets.data.boxes import Box

Pixels = npt.NDArray[np.uint8]
Resample = Literal["bilinear", "bicubic", "lanczos", "nearest", "box", "hamming"]
_LONGEST = 16  # a region longer than 16 to 1 would be resized to a picture of many millions of pixels


@dataclass(frozen=True)
class View:
    """A way of drawing.

    Attributes:
        size: side of the square in pixels.
        shorter: side to which the shorter side is resized before the square is cut out at the centre, as the transforms
            of most pretrained encoders do; None draws all of the picture to the square, its aspect not kept, so that a
            fact at the border is not cut away; a large picture is first made smaller in a quicker way.
        resample: the filter; it smooths where it makes smaller.
        stretch: resize both sides to `shorter` before the cut, the aspect not kept, as some encoders do.
        floor: where a half pixel is left, cut at the whole number below, as transformers does, not at the even one
            beside it, as torchvision does.
    """

    size: int
    shorter: int | None = None
    resample: Resample = "bicubic"
    stretch: bool = False
    floor: bool = False

    @property
    def key(self) -> list[object]:
        """What names the drawing in the key of a cache."""
        return list(astuple(self))

    def draw(self, picture: Image.Image, box: Box | None = None) -> Pixels:
        """Return (size, size, 3) pixels of an RGB picture, or of `box` in it, which is resized as if it were all."""
        return self._whole(picture, box) if self.shorter is None else self._centre(picture, box, self.shorter)

    def _whole(self, picture: Image.Image, box: Box | None) -> Pixels:
        size = (self.size, self.size)
        if box is None and picture.size == size:
            return np.asarray(picture)
        return np.asarray(picture.resize(size, self._filter, box=box, reducing_gap=3.0))

    def _centre(self, picture: Image.Image, box: Box | None, shorter: int) -> Pixels:
        """Resize the shorter side, then cut at the centre; with torchvision's rounding, so to the same pixels."""
        left, top, right, bottom = box or (0.0, 0.0, float(picture.width), float(picture.height))
        width, height = right - left, bottom - top
        if (
            max(width, height) > _LONGEST * min(width, height) and not self.stretch
        ):  # the square sees none of what is left out here
            across, down = min(width, _LONGEST * height), min(height, _LONGEST * width)
            left, top = left + (width - across) / 2, top + (height - down) / 2
            width, height = across, down
            box = (left, top, left + width, top + height)
        # the longer side loses its fraction, but rounding of a box's fractions must not bring it below the shorter
        long = max(shorter, int(shorter * max(width, height) / min(width, height))) if not self.stretch else shorter
        sides = (shorter, long) if width <= height else (long, shorter)
        resized = picture if box is None and picture.size == sides else picture.resize(sides, self._filter, box=box)
        x, y = (self._start(side) for side in sides)
        return np.asarray(resized.crop((x, y, x + self.size, y + self.size)))

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling[self.resample.upper()]

    def _start(self, side: int) -> int:
        """Return where the middle `size` of `side` begins; below 0, what is missing is drawn black."""
        spare = side - self.size
        if spare < 0:
            return -(-spare // 2)
        return spare // 2 if self.floor else round(spare / 2)
