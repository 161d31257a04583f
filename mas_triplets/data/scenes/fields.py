"""Signed distance to every shape's edge, tabulated once and read by interpolation, for many objects at a time.

One table serves the rasteriser (coverage of a pixel), the layout (gaps, containment) and the distractors. Reading a
table needs no sine or exponential, only operations that IEEE 754 rounds in one way, so the layout of a scene is the
same whatever else is in its block.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.options import SHAPES
from mas_triplets.data.scenes.shapes import CIRCLE, RING, RING_HOLE, boundary_points, contours, reach

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

CELLS = 256
"""Rows and columns of a table."""
EXTENT = 1.5
"""A table covers [-EXTENT, EXTENT] in units of the object's radius, both ways."""
SCALE = (CELLS - 1) / (2 * EXTENT)
"""Table cells per unit."""
SHAPE_ID = {shape: number for number, shape in enumerate(SHAPES)}
FILLED_RING = len(SHAPES)
"""The table of the ring with its hole filled: its outline as a disc."""
_DISCS = {"circle": (CIRCLE, 0.0), "ring": (RING, RING_HOLE), "filled ring": (RING, 0.0)}
BOUNDARY = 96
INTERIOR = 192
TURN = 1024
"""Rotations are whole steps of a full turn over this number."""


@lru_cache(maxsize=1)
def tables() -> NDArray[np.float32]:
    """Return the signed distances (shapes + 1, CELLS, CELLS), negative inside, in units of the radius, read-only."""
    axis = (np.arange(CELLS) / SCALE - EXTENT).astype(np.float64)
    x, y = np.meshgrid(axis, axis)
    from_centre = np.sqrt(x * x + y * y)
    fields = []
    for shape in (*SHAPES, "filled ring"):
        if shape in _DISCS:
            # Their polygons follow circles to 0.0006 of the radius; the circle is quicker to tabulate.
            outer, hole = _DISCS[shape]
            fields.append(np.maximum(from_centre - outer, hole - from_centre if hole else -np.inf))
        else:
            fields.append(signed_distance(contours(shape), x, y))
    stacked = np.stack(fields).astype(np.float32)
    stacked.setflags(write=False)
    return stacked


def signed_distance(polygons: tuple[NDArray[np.float64], ...], x: Floats, y: Floats) -> Floats:
    """Return the signed distance of points (any shape) to polygons under the even-odd rule; negative inside."""
    square = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for polygon in polygons:
        for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            ex, ey = bx - ax, by - ay
            px, py = x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
            square = np.minimum(square, (px - along * ex) ** 2 + (py - along * ey) ** 2)
            if ay != by:
                inside ^= ((ay > y) != (by > y)) & (px < py * (ex / ey))
    distance: Floats = np.where(inside, -1.0, 1.0) * np.sqrt(square)
    return distance


def read(ids: Ints, x: Floats, y: Floats) -> Floats:
    """Return the signed distance of points (objects, points), in each object's own frame, to its edge.

    `ids` (objects,) are shape numbers or `FILLED_RING`. Exact to 0.3 cells (0.004 of the radius) inside the table's
    extent; beyond it the distance grows with the distance from the table's border.
    """
    gx, gy = (x + EXTENT) * SCALE, (y + EXTENT) * SCALE
    cx, cy = np.clip(gx, 0.0, CELLS - 1.001), np.clip(gy, 0.0, CELLS - 1.001)
    column, row = cx.astype(np.int32), cy.astype(np.int32)
    fx, fy = cx - column, cy - row
    flat = tables().reshape(-1)
    place = (ids.astype(np.int32) * (CELLS * CELLS))[:, None] + row * CELLS + column
    top = flat[place] * (1.0 - fx) + flat[place + 1] * fx
    bottom = flat[place + CELLS] * (1.0 - fx) + flat[place + CELLS + 1] * fx
    beyond = np.sqrt((gx - cx) ** 2 + (gy - cy) ** 2) / SCALE
    distance: Floats = top * (1.0 - fy) + bottom * fy + np.maximum(beyond - 2.0 / SCALE, 0.0)
    return distance


@lru_cache(maxsize=1)
def boundaries() -> NDArray[np.float64]:
    """Return points on every shape's outline (shapes, BOUNDARY, 2), all vertices among them, read-only."""
    points = np.stack([boundary_points(shape, BOUNDARY) for shape in SHAPES])
    points.setflags(write=False)
    return points


@lru_cache(maxsize=1)
def interiors() -> NDArray[np.float64]:
    """Return points spread evenly over every shape's body (shapes, INTERIOR, 2), for measuring areas, read-only."""
    # The R2 sequence: any stretch of it covers the square evenly, so the first INTERIOR points inside a shape do too.
    steps = np.arange(1, 4096)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    candidates = (steps % 1.0 - 0.5) * 2.4
    chosen = []
    for shape in SHAPES:
        inside = signed_distance(contours(shape), candidates[:, 0], candidates[:, 1]) < 0
        chosen.append(candidates[inside][:INTERIOR])
    points = np.stack(chosen)
    points.setflags(write=False)
    return points


@lru_cache(maxsize=1)
def reaches() -> NDArray[np.float64]:
    """Return the largest distance of every shape's outline from its origin, (shapes,)."""
    return np.array([reach(shape) for shape in SHAPES])


@lru_cache(maxsize=1)
def rooms() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where in every shape the largest disc fits: centres (shapes, 2) and radii (shapes,), own units.

    For the ring it is the hole: what is inside a ring is in its hole.
    """
    centres, radii = [], []
    for number, shape in enumerate(SHAPES):
        if shape == "ring":
            centres.append((0.0, 0.0))
            radii.append(float(tables()[number, CELLS // 2, CELLS // 2]))
            continue
        row, column = divmod(int(tables()[number].argmin()), CELLS)
        centres.append((column / SCALE - EXTENT, row / SCALE - EXTENT))
        radii.append(-float(tables()[number].min()))
    return np.array(centres), np.array(radii)


@lru_cache(maxsize=1)
def _turns() -> NDArray[np.float64]:
    angles = np.arange(TURN) * (2.0 * np.pi / TURN)
    return np.stack([np.cos(angles), np.sin(angles)])


def cosine_sine(steps: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cosine and sine of rotations given in steps of a full turn over `TURN`."""
    cosines, sines = _turns()[:, steps % TURN]
    return cosines, sines
