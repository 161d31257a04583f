"""Contact sheets: pictures in a grid with captions and boxes, for scenes, answers to a query, and reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mas_triplets.errors import UserError

INK, GREY, RED, GREEN, BLUE = "#1f2328", "#6e7781", "#c62828", "#1a7f37", "#0b5cad"
"""Colours that are readable on white."""
_ELLIPSIS = "…"
_FRAME = "#d0d7de"
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Line:
    """A caption line; `strong` is darker and a little heavier."""

    text: str
    colour: str = GREY
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A box to draw: [x1, y1, x2, y2] in the picture's own pixels, half-open, and a short label or None."""

    corners: tuple[float, float, float, float]
    colour: str = RED
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        picture: a PIL image, or uint8 (height, width, 3) or (height, width).
        lines: the caption; text alone is grey.
        boxes: drawn on the picture.
        title: one strong line above the picture, or None.
    """

    picture: Image.Image | NDArray[np.uint8]
    lines: Sequence[str | Line] = ()
    boxes: Sequence[Box] = ()
    title: str | None = None


def contact_sheet(
    cells: Sequence[Cell],
    columns: int = 6,
    cell: int = 160,
    *,
    title: str | None = None,
    font_size: int = 12,
    margin: int = 16,
    scale: int = 1,
) -> Image.Image:
    """Draw the cells in rows of `columns`, on white.

    A picture is scaled to fit a square of `cell` pixels and keeps its aspect ratio; small pictures are enlarged without
    smoothing when the enlargement is at least twofold, so that their pixels can be seen. Captions that are
    too long end with an ellipsis. All lengths are multiplied by `scale`: 2 gives a sheet for fine displays.

    Args:
        cells: the pictures with their captions; none gives an empty sheet.
        columns: how many in a row, at least 1; fewer where there are fewer cells.
        cell: side of a picture's square, at least 16.
        title: a heading for the sheet, or None.
        font_size: of captions; titles are a little larger.
        margin: around the sheet and between cells.
        scale: a whole factor for everything.

    Raises:
        UserError: a number out of range, a picture that is neither an image nor an array of uint8.
    """
    for name, value, least in (("columns", columns, 1), ("cell", cell, 16), ("scale", scale, 1),
                               ("font_size", font_size, 6), ("margin", margin, 0)):  # fmt: skip
        if value < least:
            raise UserError(f"the contact sheet's {name} is {value}: it must be at least {least}")
    cell, margin, font_size = cell * scale, margin * scale, font_size * scale
    font, heading = _font(font_size), _font(round(font_size * 1.4))
    line = round(font_size * 1.35)
    columns = min(columns, max(1, len(cells)))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = margin + columns * (cell + margin)
    top = margin + (round(font_size * 2.1) if title else 0)
    heights = [_row_height(row, cell, line, margin) for row in rows]
    sheet = Image.new("RGB", (width, top + sum(heights) or 2 * margin), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((margin, margin), shorten(title, width - 2 * margin, heading), INK, heading)
    for row, height in zip(rows, heights, strict=True):
        titled = any(one.title for one in row)
        for column, one in enumerate(row):
            corner = (margin + column * (cell + margin), top)
            _draw_cell(sheet, draw, one, corner, cell, font, line, titled)
        top += height
    return sheet


def framed(
    picture: Image.Image | NDArray[np.uint8],
    boxes: Sequence[Box] = (),
    side: int = 160,
    *,
    font: _Font | None = None,
    thick: int = 2,
) -> Image.Image:
    """Return the picture scaled to fit a square of `side` pixels, with its boxes drawn on it.

    It keeps its aspect ratio; enlarged at least twofold, it is not smoothed, so that its pixels can be seen.

    Args:
        picture: a PIL image, or uint8 (height, width, 3) or (height, width).
        boxes: drawn on it, in its own pixels.
        side: of the square, at least 1.
        font: of the boxes' labels; the default one at 12 pixels if None.
        thick: of the boxes' lines, in pixels of what is returned.

    Example: a picture of 400 x 200 pixels framed at 100 has 100 x 50.

    Raises:
        UserError: the picture is neither an image nor an array of uint8.
    """
    picture = _as_image(picture)
    factor = min(side / picture.width, side / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    way = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.LANCZOS
    shown = picture.resize(size, way)
    draw = ImageDraw.Draw(shown)
    for box in boxes:
        _draw_box(draw, box, size, picture.size, font or _font(12), thick)
    return shown


def shorten(text: str, width: float, font: _Font) -> str:
    """Return `text`, cut and ended with an ellipsis where it would be wider than `width` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + _ELLIPSIS) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS


@lru_cache(maxsize=16)
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _row_height(row: Sequence[Cell], cell: int, line: int, margin: int) -> int:
    captions = max(len(one.lines) for one in row)
    title = line if any(one.title for one in row) else 0
    return title + cell + (captions * line + line // 3 if captions else 0) + margin


def _draw_cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    one: Cell,
    corner: tuple[int, int],
    cell: int,
    font: _Font,
    line: int,
    titled: bool,
) -> None:
    x, y = corner
    if titled:
        if one.title:
            _text(draw, (x, y), shorten(one.title, cell, font), INK, font, strong=True)
        y += line
    shown = framed(one.picture, one.boxes, cell, font=font, thick=max(1, round(line / 8)))
    if shown.size != (cell, cell):
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), outline=_FRAME)
    sheet.paste(shown, (x + (cell - shown.width) // 2, y + (cell - shown.height) // 2))
    y += cell + line // 3
    for text in _lines(one.lines):
        _text(draw, (x, y), shorten(text.text, cell, font), text.colour, font, strong=text.strong)
        y += line


def _draw_box(
    draw: ImageDraw.ImageDraw, box: Box, shown: tuple[int, int], size: tuple[int, int], font: _Font, thick: int
) -> None:
    fx, fy = shown[0] / size[0], shown[1] / size[1]
    x1, y1, x2, y2 = box.corners
    # Half-open: the last pixel painted is the one before x2, y2; all inside the picture as it is shown.
    left, upper = (round(min(max(v * f, 0), s - 1)) for v, f, s in ((x1, fx, shown[0]), (y1, fy, shown[1])))
    right, lower = (round(min(max(v * f, 1), s)) - 1 for v, f, s in ((x2, fx, shown[0]), (y2, fy, shown[1])))
    place = (left, upper, max(left, right), max(upper, lower))
    draw.rectangle(place, outline=box.colour, width=thick)
    if box.label:
        label = shorten(box.label, max(shown[0] - left - 2 * thick, 1), font)
        high = round(sum(_metrics(font)) + thick)
        # Above the box where the picture has room for it, so that it hides nothing of what is in the box.
        upper = place[1] - high if place[1] >= high else place[1]
        wide = round(font.getlength(label)) + 2 * thick
        draw.rectangle((place[0], upper, place[0] + wide, upper + high), fill=box.colour)
        draw.text((place[0] + thick, upper), label, "white", font)


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str, font: _Font, *, strong: bool
) -> None:
    draw.text(place, text, colour, font)
    if strong:  # the default font has one weight only: a second print beside the first makes it heavier
        draw.text((place[0] + 0.5, place[1]), text, colour, font)


def _metrics(font: _Font) -> tuple[int, int]:
    """Return how far the font goes above and below its base line, in pixels."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return font.getmetrics()
    return 10, 3


def _lines(lines: Sequence[str | Line]) -> Iterator[Line]:
    for line in lines:
        yield Line(line) if isinstance(line, str) else line


def _as_image(picture: Image.Image | NDArray[np.uint8]) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise UserError(
            f"a contact sheet takes pictures of bytes (height, width, 3), not {picture.dtype} {picture.shape}"
        )
    return Image.fromarray(picture).convert("RGB")
