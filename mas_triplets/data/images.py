"""Reading pictures: decoded by content, as stored (EXIF orientation is not applied), as RGB."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from mas_triplets.errors import UserError

Image.MAX_IMAGE_PIXELS = 400_000_000
"""Above this number of pixels Pillow warns, above twice as many it refuses: a decompression bomb."""

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""What is taken for a picture when a folder is searched; a file named in a list may have any extension."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Pillow's names of the formats behind those extensions."""

_UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
"""What Pillow raises at files that are no picture, or a damaged one."""


def read_picture(path: Path) -> Image.Image:
    """Decode the picture at `path` to RGB.

    Raises:
        UserError: the file is absent, is no picture, or is truncated; the sentence names it.
    """
    with _opened(path) as picture:
        return _decoded(picture, path)


def picture_from_bytes(data: bytes, name: str, most_pixels: int) -> Image.Image:
    """Decode a picture that somebody sent, to RGB; its format is told by its content and is one of `FORMATS`.

    Args:
        data: the file's bytes.
        name: what it is called in the sentence of an error.
        most_pixels: width times height that is decoded; a larger one is refused by its header alone.

    Raises:
        UserError: it is no picture of these formats, is truncated, or is too large.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels, at most {most_pixels:,} are taken: send a smaller one") from None
    except _UNREADABLE:
        raise UserError(f"{name} is not a picture that can be read: send a JPEG, PNG, WebP, GIF, BMP or TIFF") from None
    with picture:
        if picture.width * picture.height > most_pixels:
            raise UserError(
                f"{name} has {picture.width:,} x {picture.height:,} pixels, at most {most_pixels:,} are taken: send a "
                "smaller one"
            )
        try:
            return _decoded(picture, Path(name))
        except UserError:
            raise UserError(f"{name} is damaged, it cannot be decoded: send it again, or another one") from None


def check_picture(path: Path) -> tuple[int, int]:
    """Return (width, height) after decoding the whole file (a JPEG at an eighth of its size, which is faster).

    Raises:
        UserError: the file is absent, is no picture, or is truncated; the sentence names it.
    """
    with _opened(path) as picture:
        size = picture.size
        picture.draft("RGB", (max(1, size[0] // 8), max(1, size[1] // 8)))
        _decoded(picture, path)
        return size


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) as the file's header says; the pixels are not decoded.

    Raises:
        UserError: the file is absent or is no picture; the sentence names it.
    """
    with _opened(path) as picture:
        return picture.size


def find_pictures(folder: Path) -> list[Path]:
    """List the pictures under `folder`, sub-folders included, sorted by path; hidden ones are passed over.

    A link that leads nowhere is listed too: whoever reads it says so.

    Raises:
        UserError: the folder is absent or holds no picture.
        OSError: a folder below it cannot be listed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds the pictures")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    found = sorted(path for path in found if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise UserError(f"{folder} holds no picture ({', '.join(sorted(EXTENSIONS))})")
    return found


def _fail(error: OSError) -> None:
    raise error


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: it should be a picture") from None
    except _UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from None


def _decoded(picture: Image.Image, path: Path) -> Image.Image:
    try:
        if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255 instead of scaling it
            picture.load()
            grey = np.clip(np.asarray(picture), 0, 65535).astype(np.uint32)
            picture = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")  # else Pillow guesses a colour for what is transparent, and warns
        return picture.convert("RGB")
    except _UNREADABLE as error:
        raise UserError(f"{path} cannot be decoded as a picture: {error}") from None
