"""Backgrounds and noise: windows, at random places, into tables that are made once for each picture side."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.options import Difficulty

Floats = NDArray[np.float32]

PLACES = 256
"""A window starts at one of these many rows and columns."""
BLOB, CLUTTER = 0.30, 0.10
"""Distance of the knots of the smooth fields, in sides: large blobs, and fine ones."""
TINTED = 0.55
"""How much the colour of a blob differs from channel to channel."""
DRAWS = 2 + 3 * 5
"""Random numbers for one picture: a place in the noise; place and colours of three fields."""


@lru_cache(maxsize=8)
def smooth_field(size: int, spacing: float) -> Floats:
    """Return a smooth random field in [-1, 1], (PLACES + size, PLACES + size), read-only.

    Cubic B-splines over random knots `spacing` sides apart: no edges and no grid to be seen.
    """
    side = PLACES + size
    position = np.arange(side) / (spacing * size)
    first = position.astype(np.int64)
    t = position - first
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    generator = np.random.PCG64(np.random.SeedSequence([1, size, round(spacing * 1000)]))
    count = int(first[-1]) + 4
    knots = 2.0 * uniform(generator, count * count).reshape(count, count) - 1.0
    rows, sums = np.zeros((side, count)), np.zeros((side, side))
    for step, weight in enumerate(weights):
        rows += weight[:, None] / 6.0 * knots[first + step]
    for step, weight in enumerate(weights):
        sums += weight[None, :] / 6.0 * rows[:, first + step]
    field: Floats = np.clip(sums / 0.55, -1.0, 1.0).astype(np.float32)
    field.setflags(write=False)
    return field


@lru_cache(maxsize=4)
def pixel_noise(size: int) -> Floats:
    """Return noise of standard deviation 1 for three channels (3, PLACES + size, PLACES + size), read-only.

    Mostly brightness, some colour; a sum of four uniform numbers, which is close to a bell curve and ends.
    """
    side = PLACES + size
    generator = np.random.PCG64(np.random.SeedSequence([2, size]))
    planes = np.zeros((4, side, side))
    for _ in range(4):
        planes += uniform(generator, planes.size).reshape(planes.shape) - 0.5
    planes *= np.sqrt(12.0 / 4.0)
    noise: Floats = (0.8 * planes[:1] + 0.6 * planes[1:]).astype(np.float32)
    noise.setflags(write=False)
    return noise


def uniform(generator: np.random.PCG64 | np.random.Philox, count: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) from the raw stream, which NumPy promises never to change."""
    return np.asarray((generator.random_raw(count) >> np.uint64(11)) * 2.0**-53)


def paint_backgrounds(out: Floats, base: NDArray[np.float64], draws: NDArray[np.float64], level: Difficulty) -> None:
    """Fill planar pictures `out` (n, 3, size, size) with backgrounds around base colours (n, 3); draws (n, DRAWS)."""
    size = out.shape[-1]
    fields = ((smooth_field(size, BLOB), level.backdrop), (smooth_field(size, BLOB), level.backdrop * 0.7),
              (smooth_field(size, CLUTTER), level.clutter))  # fmt: skip
    out[:] = base[:, :, None, None]
    for number, (field, strength) in enumerate(fields):
        if not strength:
            continue
        own = draws[:, 2 + 5 * number : 7 + 5 * number]
        tint = strength * (1.0 - TINTED * own[:, 2:5])
        windows = _windows(field, own[:, :2], size)
        out += windows[:, None] * tint.astype(np.float32)[:, :, None, None]


def add_noise(out: Floats, draws: NDArray[np.float64], level: Difficulty) -> None:
    """Add the noise of single pixels to planar pictures (n, 3, size, size); draws as for `paint_backgrounds`."""
    size = out.shape[-1]
    noise = pixel_noise(size) * np.float32(level.noise)
    for picture, (row, column) in zip(out, _places(draws[:, :2]), strict=True):
        picture += noise[:, row : row + size, column : column + size]


def _places(draws: NDArray[np.float64]) -> list[list[int]]:
    places: list[list[int]] = (draws * PLACES).astype(np.int64).tolist()
    return places


def _windows(field: Floats, draws: NDArray[np.float64], size: int) -> Floats:
    return np.stack([field[row : row + size, column : column + size] for row, column in _places(draws)])
