"""Distractors: short strokes beside the objects, of no meaning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.fields import cosine_sine
from mas_triplets.data.scenes.options import Difficulty
from mas_triplets.data.scenes.raster import blend, stroke
from mas_triplets.data.scenes.relations import Objects

Array = NDArray[np.float64]

MOST = 3
PLACES = 4
"""How many places are tried for a stroke; where all lie too near to an object it is left out."""
DRAWS = MOST * (4 + 3 * PLACES)
CLEAR = 0.05
"""Strokes keep this distance to objects, in sides, so that they touch nothing."""
LENGTH, WIDTH = (0.06, 0.11), (0.018, 0.028)
SHADES = (48.0, 226.0)


def draw_strokes(
    out: NDArray[np.float32], objects: tuple[tuple[Objects, NDArray[np.bool_]], ...], draws: Array, level: Difficulty
) -> None:
    """Draw the strokes of planar pictures (n, 3, size, size), clear of the objects.

    Args:
        out: the pictures, painted on.
        objects: subject and reference, each with the scenes in which they are present (n,).
        draws: (n, DRAWS).
        level: how many strokes, how often.
    """
    each = draws.reshape(len(out), MOST, 4 + 3 * PLACES)
    for number in range(level.strokes):
        own = each[:, number]
        chosen = np.flatnonzero(own[:, 0] < level.stroke)
        if not len(chosen):
            continue
        own = own[chosen]
        length = LENGTH[0] + (LENGTH[1] - LENGTH[0]) * own[:, 1]
        width = WIDTH[0] + (WIDTH[1] - WIDTH[0]) * own[:, 2]
        shade = np.where(own[:, 3] < 0.5, SHADES[0], SHADES[1])
        places = own[:, 4:].reshape(-1, PLACES, 3)
        ends = _ends(places, length[:, None])
        free = np.ones(ends.shape[:2], dtype=bool)
        for shapes, present in objects:
            near = _nearest(ends, shapes.select(chosen)) < CLEAR
            free &= ~(near & present[chosen][:, None])
        placed = free.any(axis=1)
        best = free.argmax(axis=1)
        scenes = chosen[placed]
        painted = out[scenes]
        cover = stroke(ends[placed, best[placed]], width[placed], out.shape[-1])
        blend(painted, cover, np.repeat(shade[placed][:, None], 3, axis=1))
        out[scenes] = painted


def _ends(places: Array, length: Array) -> Array:
    """Return x1, y1, x2, y2 of strokes (n, PLACES, 4) that lie wholly in the picture."""
    cos, sin = cosine_sine((places[..., 2] * 1024).astype(np.int64))
    half = np.stack([cos, sin], axis=-1) * length[..., None] / 2
    middle = 0.08 + 0.84 * places[..., :2]
    return np.concatenate([middle - half, middle + half], axis=-1)


def _nearest(ends: Array, objects: Objects) -> Array:
    """Return the distance of strokes (n, PLACES) to the objects' outlines: of five points on each stroke."""
    count = len(ends)
    share = np.linspace(0.0, 1.0, 5)
    points = ends[..., None, :2] + (ends[..., None, 2:] - ends[..., None, :2]) * share[:, None]
    flat = np.moveaxis(points.reshape(count, -1, 2), -1, 0)
    nearest: Array = objects.distance(flat, filled=True).reshape(count, PLACES, 5).min(axis=2)
    return nearest
