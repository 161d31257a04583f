"""Boxes [x1, y1, x2, y2]: pixels, 0-based, half-open, in the picture as stored."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

Box = tuple[float, float, float, float]


def clip_box(box: Sequence[float], width: int, height: int) -> Box | None:
    """Return the part of `box` inside a picture of that size in pixels; None if it is empty or not finite."""
    if len(box) != 4:
        return None
    x1, y1, x2, y2 = map(float, box)
    if not (isfinite(x1) and isfinite(y1) and isfinite(x2) and isfinite(y2)):
        return None
    x1, y1 = max(0.0, x1), max(0.0, y1)
    x2, y2 = min(float(width), x2), min(float(height), y2)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def enclosing_box(first: Box | None, second: Box | None) -> Box | None:
    """Return the smallest box around both; one that is None does not count, and two give None."""
    if first is None or second is None:
        return first or second
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
