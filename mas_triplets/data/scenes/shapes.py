"""The outlines of the shapes, as polygons: the one definition from which everything about a shape follows.

A shape's own frame has x to the right and y down, its origin in the centre of gravity of the shape's filled outline.
An object in a picture is the outline turned by `rotation` (radians, clockwise as seen), times `radius`, moved to
`centre`. The radius is nominal: outlines reach 0.88 (circle) to 1.15 (star) from the origin, so that objects of equal
radius look about equally large.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.options import SHAPES

Array = NDArray[np.float64]

_ROUND = 96  # vertices of a curved outline: it leaves the true curve by 0.0006 of the radius
CIRCLE, RING, RING_HOLE = 0.88, 0.98, 0.54
"""Radii of the circle, the ring and its hole."""


@cache
def contours(shape: str) -> tuple[Array, ...]:
    """Return the closed polygons of a shape's edge, each (vertices, 2): the outline first, then the ring's hole."""
    if shape == "ring":
        return (_circle(RING), _circle(RING_HOLE))
    outline = _OUTLINES[shape]()
    return (outline - centre_of_gravity(outline),)


def centre_of_gravity(polygon: Array) -> Array:
    """Return the centre of gravity (2,) of a filled simple polygon (vertices, 2)."""
    x, y = polygon.T
    nx, ny = np.roll(polygon, -1, axis=0).T
    cross = x * ny - nx * y
    moments = np.array([((x + nx) * cross).sum(), ((y + ny) * cross).sum()])
    return np.asarray(moments / (3.0 * cross.sum()), dtype=np.float64)


def reach(shape: str) -> float:
    """Return the largest distance of the outline from the shape's origin."""
    outline = contours(shape)[0]
    return float(np.sqrt((outline**2).sum(axis=1)).max())


def boundary_points(shape: str, count: int) -> Array:
    """Return `count` points (count, 2) on the outline: all its vertices, the rest spread evenly along the edges."""
    outline = contours(shape)[0]
    ends = np.roll(outline, -1, axis=0)
    lengths = np.sqrt(((ends - outline) ** 2).sum(axis=1))
    pieces = np.ones(len(outline), dtype=int)
    while pieces.sum() < count:
        pieces[np.argmax(lengths / pieces)] += 1
    points = [
        start + (end - start) * step / number
        for start, end, number in zip(outline, ends, pieces, strict=True)
        for step in range(number)
    ]
    return np.array(points[:count])


def _circle(radius: float) -> Array:
    angles = np.arange(_ROUND) * (2.0 * np.pi / _ROUND)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _regular(corners: int, reach: float) -> Array:
    """A regular polygon with one corner straight up."""
    angles = np.arange(corners) * (2.0 * np.pi / corners) - np.pi / 2
    return reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _square() -> Array:
    return 0.76 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _star() -> Array:
    outline = _regular(10, 1.15)
    outline[1::2] *= 0.46
    return outline


def _cross() -> Array:
    arm, half = 0.98, 0.33
    corner = [[half, -arm], [half, -half], [arm, -half]]
    turns = [np.array(corner)]
    for _ in range(3):
        turns.append(np.stack([-turns[-1][:, 1], turns[-1][:, 0]], axis=1))
    return np.concatenate(turns)


def _heart() -> Array:
    t = np.arange(_ROUND) * (2.0 * np.pi / _ROUND)
    x = 16.0 * np.sin(t) ** 3
    y = -(13.0 * np.cos(t) - 5.0 * np.cos(2 * t) - 2.0 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 15.5


def _moon() -> Array:
    """A crescent: the unit disc less a smaller one to its right."""
    bite, offset = 0.80, 0.52
    tip_x = (1.0 - bite**2 + offset**2) / (2.0 * offset)
    tip_y = np.sqrt(1.0 - tip_x**2)
    outer_angle, inner_angle = np.arctan2(tip_y, tip_x), np.arctan2(tip_y, tip_x - offset)
    outer = np.linspace(outer_angle, 2.0 * np.pi - outer_angle, 56)
    inner = np.linspace(2.0 * np.pi - inner_angle, inner_angle, 42)[1:-1]
    arcs = [
        np.stack([np.cos(outer), np.sin(outer)], axis=1),
        np.stack([offset + bite * np.cos(inner), bite * np.sin(inner)], axis=1),
    ]
    return 1.02 * np.concatenate(arcs)


_OUTLINES = {
    "circle": lambda: _circle(CIRCLE),
    "square": _square,
    "triangle": lambda: _regular(3, 1.12),
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "moon": _moon,
}
assert {*_OUTLINES, "ring"} == set(SHAPES)
