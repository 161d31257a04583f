"""From distances to pixels: how much of every pixel an object, its pattern or a stroke covers, anti-aliased."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.fields import CELLS, EXTENT, SCALE, cosine_sine, tables
from mas_triplets.data.scenes.relations import Objects

Floats = NDArray[np.float32]

STRIPES, SPOTS = 0.46, 0.52
"""Distance from stripe to stripe and from spot to spot, in radii."""
LEAST_PERIOD = 4.2
"""And in pixels at least: finer patterns blur into a plain colour."""
STRIPE_WIDTH, SPOT_RADIUS = 0.42, 0.27
"""Share of a period that is ink."""


def frames(objects: Objects, size: int) -> tuple[Floats, Floats]:
    """Return the pixels' centres in each object's own frame: x and y (n, size, size), in radii."""
    cos, sin = cosine_sine(objects.steps)
    centres = (np.arange(size) + 0.5) / size
    # (p - centre) / radius, turned back: each term depends on the column or the row only.
    x, y = ((centres - c[:, None]) / objects.radius[:, None] for c in (objects.x, objects.y))
    c, s = cos[:, None], sin[:, None]
    own_x = (x * c).astype(np.float32)[:, None, :] + (y * s).astype(np.float32)[:, :, None]
    own_y = (y * c).astype(np.float32)[:, :, None] - (x * s).astype(np.float32)[:, None, :]
    return own_x, own_y


def coverage(objects: Objects, x: Floats, y: Floats) -> Floats:
    """Return how much of every pixel the object covers, 0 to 1, (n, size, size); x, y from `frames`."""
    size = x.shape[-1]
    top = np.float32(CELLS - 1.001)
    gx = np.clip((x + np.float32(EXTENT)) * np.float32(SCALE), 0, top)
    gy = np.clip((y + np.float32(EXTENT)) * np.float32(SCALE), 0, top)
    column, row = gx.astype(np.int32), gy.astype(np.int32)
    gx -= column
    gy -= row
    row *= CELLS
    row += column
    row += (objects.shape * (CELLS * CELLS)).astype(np.int32)[:, None, None]
    flat = tables().reshape(-1)
    upper, lower = flat[row], flat[row + CELLS]
    row += 1
    upper += (flat[row] - upper) * gx
    row += CELLS
    lower += (flat[row] - lower) * gx
    upper += (lower - upper) * gy
    upper *= (objects.radius * -size).astype(np.float32)[:, None, None]
    upper += np.float32(0.5)
    covered: Floats = np.clip(upper, 0, 1, out=upper)
    return covered


def stripes(objects: Objects, x: Floats, y: Floats, draws: NDArray[np.float64]) -> Floats:
    """Return how much of every pixel is a stripe's ink, 0 to 1; draws (n, 2): direction and phase."""
    size = x.shape[-1]
    period = np.maximum(STRIPES, LEAST_PERIOD / (objects.radius * size))
    cos, sin = cosine_sine((draws[:, 0] * 1024).astype(np.int64))
    t = x * _column(cos / period) + y * _column(sin / period) + _column(draws[:, 1])
    t -= np.floor(t)
    distance = np.abs(t - np.float32(0.5)) - np.float32(STRIPE_WIDTH / 2)
    return _covered(distance, period * objects.radius * size)


def spots(objects: Objects, x: Floats, y: Floats, draws: NDArray[np.float64]) -> Floats:
    """Return how much of every pixel is a spot's ink, 0 to 1; draws (n, 2): where the lattice lies."""
    size = x.shape[-1]
    period = np.maximum(SPOTS, LEAST_PERIOD / (objects.radius * size))
    v = y * _column(1.0 / period) + _column(draws[:, 1])
    line = np.floor(v)
    v -= line
    # Every other row is shifted by half a period.
    u = x * _column(1.0 / period) + _column(draws[:, 0]) + np.float32(0.5) * line
    u -= np.floor(u)
    u -= np.float32(0.5)
    v -= np.float32(0.5)
    distance = np.sqrt(u * u + v * v) - np.float32(SPOT_RADIUS)
    return _covered(distance, period * objects.radius * size)


def stroke(ends: NDArray[np.float64], width: NDArray[np.float64], size: int) -> Floats:
    """Return how much of every pixel a stroke covers (n, size, size).

    Args:
        ends: x1, y1, x2, y2 in sides, (n, 4).
        width: in sides, (n,).
        size: side of the picture in pixels.
    """
    pixels = ends * size
    centres = (np.arange(size) + 0.5)[None, :]
    px = (centres - pixels[:, 0:1]).astype(np.float32)[:, None, :]
    py = (centres - pixels[:, 1:2]).astype(np.float32)[:, :, None]
    ex, ey = _column(pixels[:, 2] - pixels[:, 0]), _column(pixels[:, 3] - pixels[:, 1])
    along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
    dx, dy = px - along * ex, py - along * ey
    return np.clip(_column(width * size / 2 + 0.5) - np.sqrt(dx * dx + dy * dy), 0, 1)


def blend(out: Floats, cover: Floats, colour: NDArray[np.float64]) -> None:
    """Paint colours (n, 3) over planar pictures (n, 3, size, size) where `cover` (n, size, size) says how much."""
    difference = colour.astype(np.float32)[:, :, None, None] - out
    difference *= cover[:, None]
    out += difference


def _column(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None, None]


def _covered(distance: Floats, pixels: NDArray[np.float64]) -> Floats:
    """Turn distances from an edge, in a unit of so many pixels (n,), into coverage."""
    covered: Floats = np.clip(np.float32(0.5) - distance * _column(pixels), 0, 1)
    return covered
