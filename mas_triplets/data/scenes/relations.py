"""What the relations mean, as geometry: each is clearly true, clearly false, or too close to call.

Lengths are fractions of the picture's side. "Outline" is a shape's outer edge, filled: a ring counts as a disc. A
scene in which a relation fact of the vocabulary about its two shapes is too close to call is drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.fields import (
    FILLED_RING,
    SHAPE_ID,
    boundaries,
    cosine_sine,
    interiors,
    read,
)
from mas_triplets.data.scenes.options import RELATIONS

Array = NDArray[np.float64]
Ints = NDArray[np.integer]

AXIS_RATIO = 2.0
"""A direction holds where the offset of the centres along its axis is at least this times the offset across it."""
AXIS_RATIO_FALSE = 0.75
"""It is clearly false below this ratio."""
AXIS_LEAST = 0.2
"""And the offset along the axis is at least this fraction of the side."""
TOUCH_PIXELS = (-1.0, 0.5)
"""The outlines of touching objects overlap by at most one pixel and leave at most half a pixel between them."""
APART_PIXELS = 1.75
"""Objects further apart than this many pixels (of a picture of 48; of the picture itself if smaller) do not touch."""
OVERLAP = 3.0 / 48
"""Outlines that overlap deeper than this neither touch nor stand beside each other."""
HIDDEN = (0.28, 0.58)
"""Share of the reference's body that a covering subject hides; measured at 192 points, so it is 0.25 to 0.61."""
HIDDEN_FALSE = 0.08
"""A subject that hides less than this does not cover."""
OUTSIDE = 2.0 / 48
"""A subject of which any point is this far outside the reference's outline is not inside; a subject that covers
reaches this far out of the reference's outline, and the reference this far out of the subject's."""
AXES = {"above": (0.0, -1.0), "below": (0.0, 1.0), "left of": (-1.0, 0.0), "right of": (1.0, 0.0)}
"""Where the subject lies as seen from the reference; y goes down."""

FALSE, TRUE, UNCLEAR = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Objects:
    """One object for each of n scenes: shape numbers (n,), centres x, y and radii (n,) in sides, rotation steps."""

    shape: Ints
    x: Array
    y: Array
    radius: Array
    steps: Ints

    def outline(self) -> Array:
        """Return points on the outlines in the pictures, (2, n, BOUNDARY): x and y in sides."""
        return self._placed(boundaries())

    def body(self) -> Array:
        """Return points spread over the bodies in the pictures, (2, n, INTERIOR)."""
        return self._placed(interiors())

    def distance(self, points: Array, *, filled: bool) -> Array:
        """Return the signed distances in sides, (n, points), of points (2, n, points) to the edges.

        With `filled` a ring counts as a disc.
        """
        cos, sin = cosine_sine(self.steps)
        scale = (1.0 / self.radius)[:, None]
        px, py = (points[0] - self.x[:, None]) * scale, (points[1] - self.y[:, None]) * scale
        c, s = cos[:, None], sin[:, None]
        ids = np.where(self.shape == SHAPE_ID["ring"], FILLED_RING, self.shape) if filled else self.shape
        return np.asarray(read(ids, px * c + py * s, py * c - px * s) * self.radius[:, None], dtype=np.float64)

    def select(self, chosen: NDArray[np.generic]) -> Objects:
        """Return the objects of the chosen scenes (a mask or numbers)."""
        return Objects(self.shape[chosen], self.x[chosen], self.y[chosen], self.radius[chosen], self.steps[chosen])

    def _placed(self, points: Array) -> Array:
        own = points[self.shape]
        cos, sin = cosine_sine(self.steps)
        c, s = (self.radius * cos)[:, None], (self.radius * sin)[:, None]
        x = self.x[:, None] + own[..., 0] * c - own[..., 1] * s
        y = self.y[:, None] + own[..., 0] * s + own[..., 1] * c
        return np.stack([x, y])


def gap(subject: Objects, reference: Objects) -> Array:
    """Return the least distance between the outlines (n,) in sides; negative is the depth of their overlap."""
    there: Array = reference.distance(subject.outline(), filled=True).min(axis=1)
    back: Array = subject.distance(reference.outline(), filled=True).min(axis=1)
    return np.minimum(there, back)


def hidden_share(subject: Objects, reference: Objects) -> Array:
    """Return the share (n,) of the reference's body that lies under the subject's body."""
    under = subject.distance(reference.body(), filled=False) < 0
    return np.asarray(under.sum(axis=1) / under.shape[1], dtype=np.float64)


def apart(size: int) -> float:
    """Return the gap in sides from which objects clearly do not touch."""
    return APART_PIXELS / min(size, 48)


def states(subject: Objects, reference: Objects, size: int) -> tuple[NDArray[np.int8], Array]:
    """Return for every scene and relation whether it is FALSE, TRUE or UNCLEAR, and the hidden share.

    Args:
        subject: the n subjects.
        reference: the n references.
        size: side of the picture in pixels, for what is measured in pixels.

    Returns:
        states (n, relations) in the order of `RELATIONS`, and the hidden shares (n,).
    """
    points = subject.outline()
    there, back = reference.distance(points, filled=True), subject.distance(reference.outline(), filled=True)
    between = np.minimum(there.min(axis=1), back.min(axis=1))
    sticks_out, shows = there.max(axis=1), back.max(axis=1)
    hidden = hidden_share(subject, reference)
    in_hole = np.where(
        reference.shape == SHAPE_ID["ring"], reference.distance(points, filled=False).min(axis=1), np.inf
    )
    result = np.full((len(between), len(RELATIONS)), UNCLEAR, dtype=np.int8)
    dx, dy = subject.x - reference.x, subject.y - reference.y
    beside = between >= TOUCH_PIXELS[0] / size
    margin = 1.0 / min(size, 48)
    within = (sticks_out <= -margin) & (in_hole >= margin)
    for number, relation in enumerate(RELATIONS):
        if relation in AXES:
            ax, ay = AXES[relation]
            along, across = ax * dx + ay * dy, np.abs(ay * dx) + np.abs(ax * dy)
            true = beside & (along >= AXIS_RATIO * across) & (along >= AXIS_LEAST)
            false = (along <= AXIS_RATIO_FALSE * across) | (along <= 0) | (between <= -OVERLAP)
        elif relation == "touching":
            true = beside & (between <= TOUCH_PIXELS[1] / size)
            false = (between >= apart(size)) | (between <= -OVERLAP)
        elif relation == "inside":
            true = within
            false = sticks_out >= OUTSIDE
        else:
            # What shows only through a ring's hole could be anything: the reference must show beside the subject.
            true = (sticks_out >= OUTSIDE) & (shows >= OUTSIDE) & (hidden >= HIDDEN[0]) & (hidden <= HIDDEN[1])
            false = (hidden <= HIDDEN_FALSE) | within
        result[true, number] = TRUE
        result[false & ~true, number] = FALSE
    return result, hidden
