"""Contact sheets: places, scaling, boxes and captions, read back from the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from mas_triplets.data.sheet import Box, Cell, Line, contact_sheet, framed, shorten
from mas_triplets.errors import UserError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain(height: int, width: int, colour: tuple[int, int, int] = RED) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def where(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The half-open box of the pixels of a colour."""
    found = np.argwhere((np.array(sheet) == colour).all(axis=2))
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0) + 1
    return int(left), int(top), int(right), int(bottom)


def test_cells_stand_in_rows() -> None:
    cells = [Cell(plain(10, 10)), Cell(plain(10, 10)), Cell(plain(10, 10, BLUE))]
    sheet = contact_sheet(cells, columns=2, cell=40, margin=5)
    assert sheet.mode == "RGB"
    assert sheet.size == (5 + 2 * 45, 5 + 2 * 45)
    assert where(sheet, RED) == (5, 5, 90, 45)
    assert where(sheet, BLUE) == (5, 50, 45, 90)
    assert sheet.getpixel((2, 2)) == sheet.getpixel((60, 70)) == (255, 255, 255)


def test_pictures_keep_their_aspect_ratio() -> None:
    assert where(contact_sheet([Cell(plain(20, 40))], cell=80, margin=10), RED) == (10, 30, 90, 70)
    assert where(contact_sheet([Cell(plain(400, 100))], cell=80, margin=10), RED) == (40, 10, 60, 90)


def test_boxes_are_scaled_with_the_picture() -> None:
    cell = Cell(plain(20, 20), boxes=[Box((5, 10, 15, 20), "#0000ff")])
    sheet = contact_sheet([cell], cell=80, margin=10)
    assert where(sheet, BLUE) == (10 + 20, 10 + 40, 10 + 60, 10 + 80)
    assert sheet.getpixel((50, 70)) == RED


def test_a_picture_alone_is_framed_with_its_boxes() -> None:
    shown = framed(plain(200, 400), [Box((100, 40, 300, 160), "#0000ff")], 100, thick=1)
    assert shown.size == (100, 50)
    assert where(shown, BLUE) == (25, 10, 75, 40)
    assert framed(plain(3, 2), side=30).size == (20, 30)


def test_boxes_outside_the_picture_are_cut_to_it() -> None:
    cell = Cell(plain(20, 20), boxes=[Box((-50, -3, 99, 400), "#0000ff", "a label much too long for this picture")])
    sheet = contact_sheet([cell], cell=80, margin=10)
    assert where(sheet, BLUE) == (10, 10, 90, 90)


def test_captions_fit_their_cell() -> None:
    text = "a caption that is a good deal wider than the cell it stands under"
    cell = Cell(plain(8, 8), [Line(text, "#0000ff"), "plain"], title="a title that is too long as well")
    sheet = contact_sheet([cell, cell], cell=90, margin=20)
    ink = (np.array(sheet) != 255).any(axis=(0, 2))
    assert not ink[:20].any()
    assert not ink[111:130].any()
    assert not ink[-19:].any()
    assert ink[20:110].all()


def test_captions_and_titles_make_room() -> None:
    bare = contact_sheet([Cell(plain(8, 8))]).height
    captioned = contact_sheet([Cell(plain(8, 8), ["one"])]).height
    assert bare < captioned < contact_sheet([Cell(plain(8, 8), ["one", "two"])]).height
    assert captioned < contact_sheet([Cell(plain(8, 8), ["one"], title="title")]).height
    assert captioned < contact_sheet([Cell(plain(8, 8), ["one"])], title="Sheet").height


def test_shorten() -> None:
    font = ImageFont.load_default(12)
    assert shorten("short", 100, font) == "short"
    assert shorten("two\n lines ", 100, font) == "two lines"
    cut = shorten("a rather long line of text", 70, font)
    assert cut.endswith("…")
    assert 50 < font.getlength(cut) <= 70
    assert shorten("anything", 1, font) == "…"


def test_scale_enlarges_everything() -> None:
    cells = [Cell(plain(10, 10), ["caption"], [Box((1, 1, 5, 5))])]
    small, large = contact_sheet(cells, margin=7), contact_sheet(cells, margin=7, scale=2)
    assert abs(large.width - 2 * small.width) <= 2
    assert abs(large.height - 2 * small.height) <= 4


def test_pictures_of_all_kinds() -> None:
    grey = np.full((10, 10), 77, dtype=np.uint8)
    palette = Image.new("P", (10, 10))
    sheet = contact_sheet([Cell(grey), Cell(palette), Cell(Image.new("RGBA", (3, 9)))], cell=30)
    assert where(sheet, (77, 77, 77))[:2] == (16, 16)
    assert contact_sheet([]).size == (16 + 176, 16) or contact_sheet([]).height >= 16


def test_wrong_use_is_told() -> None:
    with pytest.raises(UserError, match="columns is 0: it must be at least 1"):
        contact_sheet([Cell(plain(4, 4))], columns=0)
    with pytest.raises(UserError, match="pictures of bytes"):
        contact_sheet([Cell(np.zeros((4, 4, 3)))])  # type: ignore[arg-type]
