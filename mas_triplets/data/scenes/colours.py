"""The colours of objects and backgrounds, chosen so that every object stands out from what is behind it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.options import COLOURS, Difficulty

Array = NDArray[np.float64]

PAINT = np.array([[226, 34, 36], [32, 168, 62], [38, 72, 226], [242, 212, 38], [246, 246, 242]], dtype=np.float64)
"""The full paint of every colour in `COLOURS`, (colours, 3), 0 to 255."""
SHADE = np.array([0.82, 0.78, 0.82, 0.88, 0.95])
"""The darkest shade of every colour: darker yellow is olive, darker white is grey."""
GREY = (28.0, 50.0)
"""Brightness of the dark grey references."""
INK = 0.16
"""Stripes and spots have this share of their object's brightness."""
CANDIDATES = 8
"""Backgrounds that are tried for an object; the last is `SAFE`, which is far from every colour."""
SAFE = (128.0, 128.0, 128.0)
BRIGHTNESS = (100.0, 198.0)
"""Range of the backgrounds' brightness: dark grey must show on it."""
TINT = 30.0
PAINT_DRAWS, GREY_DRAWS, BACKDROP_DRAWS = 4, 4, 3 * (CANDIDATES - 1)
"""How many random numbers one choice takes."""

assert len(PAINT) == len(SHADE) == len(COLOURS)


def paint(colour: NDArray[np.integer], draws: Array) -> Array:
    """Return fill colours (n, 3) for colour numbers (n,), from draws (n, PAINT_DRAWS): a shade and a slight hue."""
    least = SHADE[colour]
    shade = least + (1.0 - least) * draws[:, 0]
    fill: Array = np.rint(np.clip(PAINT[colour] * shade[:, None] + 10.0 * (draws[:, 1:4] - 0.5), 0.0, 255.0))
    return fill


def dark_grey(draws: Array) -> Array:
    """Return fill colours (n, 3) of references, from draws (n, GREY_DRAWS): dark, with a hint of a tint."""
    fill: Array = np.rint(GREY[0] + (GREY[1] - GREY[0]) * draws[:, :1] + 12.0 * (draws[:, 1:4] - 0.5))
    return fill


def contrast(one: Array, other: Array) -> Array:
    """Return the distance of colours (..., 3), 0 to 255, with the weights 2, 4, 3 of what the eye sees of R, G, B.

    Two greys are as far apart as their brightness: `contrast([10, 10, 10], [60, 60, 60])` is 50.
    """
    difference = one - other
    red, green, blue = difference[..., 0], difference[..., 1], difference[..., 2]
    return np.asarray(np.sqrt((2.0 * red * red + 4.0 * green * green + 3.0 * blue * blue) / 9.0))


def backdrop(fill: Array, draws: Array, level: Difficulty) -> Array:
    """Return base colours of backgrounds (n, 3) on which `fill` (n, 3) and dark grey stand out.

    The first of the random candidates with enough contrast, else the one that has most; draws (n, BACKDROP_DRAWS).
    """
    draws = draws.reshape(-1, CANDIDATES - 1, 3)
    brightness = BRIGHTNESS[0] + (BRIGHTNESS[1] - BRIGHTNESS[0]) * draws[..., 0]
    warm, cool = TINT * (2.0 * draws[..., 1] - 1.0), TINT * (2.0 * draws[..., 2] - 1.0)
    random = np.stack([brightness + warm, brightness - 0.4 * (warm + cool), brightness + cool], axis=-1)
    safe = np.broadcast_to(np.array(SAFE), (len(draws), 1, 3))
    candidates = np.concatenate([random, safe], axis=1)
    margin = np.minimum(contrast(candidates, fill[:, None]), contrast(candidates, np.full(3, GREY[1])))
    enough = margin >= level.contrast
    choice = np.where(enough.any(axis=1), enough.argmax(axis=1), margin.argmax(axis=1))
    return np.asarray(candidates[np.arange(len(draws)), choice])
