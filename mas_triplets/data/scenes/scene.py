"""What is in a rendered scene: its objects, its facts, their boxes, and a caption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mas_triplets.facts import Fact

DARK_GREY = "dark grey"
"""The colour of every reference object; it is not in the vocabulary."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PlacedShape:
    """An object in a picture: the outline `shapes.contours(shape)`, turned, enlarged and moved.

    Attributes:
        shape: one of `SHAPES`.
        centre: x and y of its centre of gravity in pixels; (0, 0) is the upper left corner of the picture.
        radius: nominal radius in pixels; the outline reaches 0.88 to 1.15 times as far (see `shapes.reach`).
        rotation: radians, clockwise as seen, in [0, 2 pi).
        colour: a colour of the vocabulary, or "dark grey" for a reference.
        rgb: what it is filled with, each 0 to 255, before noise.
        pattern: "striped" or "spotted" (in a dark ink of its colour) or None.
    """

    shape: str
    centre: tuple[float, float]
    radius: float
    rotation: float
    colour: str
    rgb: tuple[int, int, int]
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene and its labels.

    Attributes:
        index: its number; with the options it determines the picture.
        target: the fact it was drawn for, one of `facts`.
        facts: every fact of the vocabulary that is true of the subject, sorted by `Fact.sort_key`.
        subject: the coloured object.
        reference: the dark grey object, or None.
        subject_box: tight box of the subject, [x1, y1, x2, y2] in pixels, 0-based, half-open.
        object_box: the same for the reference's whole outline, even where it is covered; None without reference.
    """

    index: int
    target: Fact
    facts: tuple[Fact, ...]
    subject: PlacedShape
    reference: PlacedShape | None
    subject_box: Box
    object_box: Box | None


@dataclass(frozen=True, slots=True)
class SceneBlock:
    """Scenes with their pictures, uint8 (n, size, size, 3), in the order asked for."""

    pictures: NDArray[np.uint8]
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.scenes)


def describe(scene: Scene) -> tuple[str, ...]:
    """Return caption lines: the target first, marked `* <star, above, ring>`, then the other labels."""
    return (f"* {scene.target}", *(str(fact) for fact in scene.facts if fact != scene.target))
