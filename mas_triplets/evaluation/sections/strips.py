"""Rows of pictures that a fact found, the right ones with a thick frame and a tick, the wrong ones with a cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from mas_triplets.data.images import read_picture
from mas_triplets.data.sheet import BLUE, GREEN, RED, Cell, contact_sheet
from mas_triplets.errors import UserError

SIDE = 112
"""Pixels of a picture's square."""

_BADGE = 22


@dataclass(frozen=True)
class Found:
    """A picture that was found.

    Attributes:
        path: its file.
        box: the part of it that was found, in its own pixels; None for the whole picture.
        right: whether it shows the fact.
    """

    path: Path
    box: tuple[float, float, float, float] | None
    right: bool


def strip(found: Sequence[Found]) -> Image.Image:
    """Draw the pictures in one row, the first found at the left."""
    return contact_sheet([Cell(marked(one)) for one in found], columns=max(1, len(found)), cell=SIDE, margin=4)


def marked(found: Found) -> Image.Image:
    """Return the picture on a square with its mark; one that cannot be read is grey.

    Marks differ in shape and thickness too, so that they are told apart without colours.
    """
    square = Image.new("RGB", (SIDE, SIDE), "#eaeef2")
    try:
        picture = read_picture(found.path)
    except UserError:
        picture = Image.new("RGB", (SIDE, SIDE), "#d0d7de")
    factor = min(SIDE / picture.width, SIDE / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    way = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.LANCZOS
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square.paste(picture.resize(size, way), (left, top))
    draw = ImageDraw.Draw(square)
    if found.box is not None:
        x1, y1, x2, y2 = (value * factor for value in found.box)
        corner = (left + min(x1, size[0] - 1), top + min(y1, size[1] - 1))
        draw.rectangle((*corner, left + max(x1, x2 - 1), top + max(y1, y2 - 1)), outline=BLUE, width=2)
    _mark(draw, right=found.right)
    return square


def _mark(draw: ImageDraw.ImageDraw, *, right: bool) -> None:
    """Draw the frame, and the sign on a white ground in the lower right corner."""
    colour = GREEN if right else RED
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=colour, width=5 if right else 1)
    far = SIDE - 1
    near = far - _BADGE
    draw.rectangle((near, near, far, far), fill="white", outline=colour, width=2)
    low, high = near + 6, far - 6
    if right:
        draw.line(((low - 1, near + 12), (near + 9, high + 1), (high + 1, low)), fill=colour, width=3, joint="curve")
    else:
        draw.line(((low, low), (high, high)), fill=colour, width=3)
        draw.line(((low, high), (high, low)), fill=colour, width=3)
