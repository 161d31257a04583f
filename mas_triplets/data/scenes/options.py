"""The options of the rendered scenes: picture side, seed, vocabulary and difficulty, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mas_triplets.errors import UserError, unknown
from mas_triplets.facts import normalise_text

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLOURS = ("red", "green", "blue", "yellow", "white")
PATTERNS = ("striped", "spotted")
ATTRIBUTES = COLOURS + PATTERNS
RELATIONS = ("above", "below", "left of", "right of", "inside", "touching", "covering")
SMALLEST_SIDE, LARGEST_SIDE = 32, 256


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes scenes easy or hard; lengths are fractions of the picture's side, brightness is 0 to 255.

    Attributes:
        single: smallest and largest radius of an object that is alone.
        paired: smallest and largest radius of the objects in a scene of two.
        turn: largest rotation away from upright, in degrees.
        slant: largest sideways offset, over the offset along the axis, of above/below/left of/right of.
        backdrop: how far the smooth blobs of the background go from its base colour.
        clutter: the same for finer blobs.
        noise: standard deviation of the noise of single pixels.
        contrast: least distance of an object's colour from the base of the background (see `colours.contrast`).
        company: share of the scenes for a fact of order 1 or 2 that hold a reference object all the same.
        stroke: chance of each of the possible distracting strokes.
        strokes: how many strokes there can be.
    """

    single: tuple[float, float]
    paired: tuple[float, float]
    turn: float
    slant: float
    backdrop: float
    clutter: float
    noise: float
    contrast: float
    company: float
    stroke: float
    strokes: int


DIFFICULTIES = {
    "easy": Difficulty((0.22, 0.34), (0.17, 0.23), 12.0, 0.25, 16.0, 0.0, 4.0, 64.0, 0.0, 0.10, 1),
    "normal": Difficulty((0.18, 0.34), (0.15, 0.22), 22.0, 0.40, 26.0, 4.0, 7.0, 62.0, 0.3, 0.35, 1),
    "hard": Difficulty((0.14, 0.34), (0.13, 0.21), 35.0, 0.44, 32.0, 12.0, 12.0, 60.0, 0.6, 0.60, 3),
}


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """Which scenes are drawn. Equal options give the same pictures, byte for byte.

    Attributes:
        size: side of the square pictures in pixels, 32 to 256.
        seed: non-negative; another seed gives other scenes of the same kind.
        shapes: which of `SHAPES`; facts of order 1. At least two where there are facts of order 3.
        attributes: which of `ATTRIBUTES`; with the shapes, the facts of order 2. May be empty.
        relations: which of `RELATIONS`, may be empty.
        order3_facts: how many facts of order 3, spread evenly over relations and shapes; None means as many for
            each relation as there are shapes: 56 for the whole vocabulary.
        difficulty: "easy", "normal" or "hard": noise, size range, contrast, clutter and distractors.

    Raises:
        UserError: a name that is not known or given twice, or a number out of its range.
    """

    size: int = 48
    seed: int = 0
    shapes: tuple[str, ...] = SHAPES
    attributes: tuple[str, ...] = ATTRIBUTES
    relations: tuple[str, ...] = RELATIONS
    order3_facts: int | None = None
    difficulty: str = "normal"

    def __post_init__(self) -> None:
        _check_integer("size", self.size, SMALLEST_SIDE, LARGEST_SIDE, " pixels")
        _check_integer("seed", self.seed, 0, 2**63 - 1)
        for kind, field, known in (
            ("shape", "shapes", SHAPES),
            ("attribute", "attributes", ATTRIBUTES),
            ("relation", "relations", RELATIONS),
        ):
            object.__setattr__(self, field, _checked_names(kind, field, getattr(self, field), known))
        if not self.shapes:
            raise UserError(f"scenes need at least one shape: give shapes, some of {', '.join(SHAPES)}")
        if self.difficulty not in DIFFICULTIES:
            raise unknown("difficulty", str(self.difficulty), DIFFICULTIES)
        possible = len(self.shapes) * (len(self.shapes) - 1) * len(self.relations)
        if self.order3_facts is not None:
            _check_integer("order3_facts", self.order3_facts, 0, 2**31)
            if self.order3_facts > possible:
                raise UserError(
                    f"order3_facts is {self.order3_facts}, but {len(self.shapes)} shapes and "
                    f"{len(self.relations)} relations make only {possible} facts of order 3 between two different "
                    "shapes: ask for fewer, or give more shapes or relations"
                )

    @property
    def order3_count(self) -> int:
        """How many facts of order 3 the vocabulary holds: `order3_facts`, or what its default comes to."""
        if self.order3_facts is not None:
            return self.order3_facts
        return len(self.shapes) * len(self.relations) if len(self.shapes) > 1 else 0

    @property
    def level(self) -> Difficulty:
        """The numbers behind the name of the difficulty."""
        return DIFFICULTIES[self.difficulty]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with `order3_facts` resolved: what provenance records."""
        return {
            "size": self.size,
            "seed": self.seed,
            "shapes": list(self.shapes),
            "attributes": list(self.attributes),
            "relations": list(self.relations),
            "order3_facts": self.order3_count,
            "difficulty": self.difficulty,
        }


def _check_integer(name: str, value: object, low: int, high: int, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"the scenes' {name} is {value!r}: it must be a whole number from {low} to {high}{unit}")


def _checked_names(kind: str, field: str, names: object, known: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, (tuple, list)):
        raise UserError(f"the scenes' {field} must be a list of names, not {names!r}")
    checked = []
    for name in names:
        word = normalise_text(str(name))
        if word not in known:
            raise unknown(kind, word, known)
        if word in checked:
            raise UserError(f"the {kind} '{word}' is given twice in the scenes' {field}: leave one out")
        checked.append(word)
    return tuple(checked)
