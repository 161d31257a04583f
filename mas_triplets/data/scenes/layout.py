"""Where the objects of a scene are: arrangements are proposed, measured, and drawn again until one is clearly right.

Lengths are fractions of the picture's side. Each scene has a fixed row of random numbers, so many for each attempt, and
all scenes of a block that have no layout yet are tried together: a scene's layout depends on its own row only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes.fields import SHAPE_ID, TURN, cosine_sine, reaches, rooms
from mas_triplets.data.scenes.options import RELATIONS, SHAPES, Difficulty
from mas_triplets.data.scenes.relations import AXES, HIDDEN, TRUE, UNCLEAR, Objects, apart, gap, states

Array = NDArray[np.float64]
Ints = NDArray[np.integer]
Mask = NDArray[np.bool_]

ARRANGEMENTS = (*RELATIONS, "apart", "single")
"""What a scene can be arranged as: one of the relations, two objects anywhere apart, or one object alone."""
APART, SINGLE = len(RELATIONS), len(RELATIONS) + 1
ATTEMPTS = 16
DRAWS = 10
"""Random numbers for one attempt."""
MARGIN = 1.0 / 48
"""Objects keep this distance to the picture's border."""
LEAST_RADIUS_INSIDE = 0.105
LEAST_RADIUS_PATTERN = 0.15
"""A pattern needs this radius to be seen."""

_ROUND_SHAPES = (SHAPE_ID["circle"], SHAPE_ID["ring"])
_INSIDE, _TOUCHING, _COVERING = (RELATIONS.index(name) for name in ("inside", "touching", "covering"))
_FALLBACK_TRIES = 512


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the layouts of n scenes have to fulfil.

    Attributes:
        arrangement: number in `ARRANGEMENTS`, (n,).
        subject: shape numbers (n,).
        reference: shape numbers (n,); of no meaning where the arrangement is "single".
        patterned: whether the subject must be large enough to show a pattern, (n,).
        must_be_clear: relations that may not be too close to call, (n, relations).
    """

    arrangement: Ints
    subject: Ints
    reference: Ints
    patterned: Mask
    must_be_clear: Mask

    def select(self, chosen: NDArray[np.generic]) -> Wanted:
        """Return what is wanted of the chosen scenes."""
        return Wanted(
            self.arrangement[chosen],
            self.subject[chosen],
            self.reference[chosen],
            self.patterned[chosen],
            self.must_be_clear[chosen],
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The n scenes' subjects, references (of no meaning where "single") and true relations (n, relations)."""

    subject: Objects
    reference: Objects
    holds: Mask


def lay_out(wanted: Wanted, draws: Array, level: Difficulty, size: int) -> Layout:
    """Return a valid layout for every scene.

    A layout is valid where the wanted relation is clearly true, none that `must_be_clear` is too close to call, and
    the objects are large enough and within the frame. A scene without one after `ATTEMPTS` gets the fixed layout
    of its arrangement and shapes (`fallback`).

    Args:
        wanted: for n scenes.
        draws: uniform random numbers in [0, 1), (n, ATTEMPTS, DRAWS).
        level: the difficulty.
        size: side of the picture in pixels.
    """
    count = len(wanted.arrangement)
    table = np.zeros((2, 4, count))
    holds = np.zeros((count, len(RELATIONS)), dtype=bool)
    pending = np.arange(count)
    for attempt in range(ATTEMPTS):
        if not len(pending):
            break
        some = wanted.select(pending)
        subject, reference, fits = propose(some, draws[pending, attempt], level, size)
        good, true = judge(some, subject, reference, fits, size)
        done = pending[good]
        for row, objects in zip(table, (subject, reference), strict=True):
            row[:, done] = np.stack([objects.x, objects.y, objects.radius, objects.steps])[:, good]
        holds[done] = true[good]
        pending = pending[~good]
    for scene in pending:
        kind, pair = int(wanted.arrangement[scene]), (int(wanted.subject[scene]), int(wanted.reference[scene]))
        numbers, relations = fallback(kind, *pair, level, size)
        table[:, :, scene] = numbers
        holds[scene] = relations
    placed = [
        Objects(shape, row[0], row[1], row[2], row[3].astype(np.int64))
        for shape, row in zip((wanted.subject, wanted.reference), table, strict=True)
    ]
    return Layout(placed[0], placed[1], holds)


@cache
def fallback(kind: int, subject: int, reference: int, level: Difficulty, size: int) -> tuple[Array, tuple[bool, ...]]:
    """Return the fixed layout of an arrangement of two shapes: large enough for a pattern, every relation clear.

    Returns:
        (2, 4): x, y, radius and rotation steps of subject and reference; and which relations hold.
    """
    numbers = np.random.Generator(np.random.PCG64(0)).random((_FALLBACK_TRIES, DRAWS))
    full = np.ones(_FALLBACK_TRIES, dtype=bool)
    wanted = Wanted(
        np.full(_FALLBACK_TRIES, kind),
        np.full(_FALLBACK_TRIES, subject),
        np.full(_FALLBACK_TRIES, reference),
        full if kind != _INSIDE else ~full,
        np.repeat(full[:, None], len(RELATIONS), axis=1),
    )
    proposed = propose(wanted, numbers, level, size)
    good, true = judge(wanted, *proposed, size)
    if not good.any():
        names = (ARRANGEMENTS[kind], SHAPES[subject], SHAPES[reference])
        raise AssertionError(f"no layout at all for {names} at {size} pixels")
    best = int(good.argmax())
    rows = [[o.x[best], o.y[best], o.radius[best], o.steps[best]] for o in proposed[:2]]
    return np.array(rows), tuple(bool(value) for value in true[best])


def judge(wanted: Wanted, subject: Objects, reference: Objects, fits: Mask, size: int) -> tuple[Mask, Mask]:
    """Return which proposals are valid (n,) and which relations are clearly true in them (n, relations)."""
    good = fits.copy()
    true = np.zeros((len(fits), len(RELATIONS)), dtype=bool)
    pairs = np.flatnonzero(fits & (wanted.arrangement != SINGLE))
    if len(pairs):
        state, hidden = states(subject.select(pairs), reference.select(pairs), size)
        kind = wanted.arrangement[pairs]
        related = np.where(kind < len(RELATIONS), kind, 0)
        as_wanted = (kind == APART) | (state[np.arange(len(pairs)), related] == TRUE)
        clear = ~((state == UNCLEAR) & wanted.must_be_clear[pairs]).any(axis=1)
        good[pairs] = as_wanted & clear & (hidden <= HIDDEN[1])
        true[pairs] = state == TRUE
    return good, true


def propose(wanted: Wanted, draws: Array, level: Difficulty, size: int) -> tuple[Objects, Objects, Mask]:
    """Return one proposal for each of n scenes, from random numbers (n, DRAWS), and whether it fits the frame."""
    kind, single = wanted.arrangement, wanted.arrangement == SINGLE
    radii, least = _radii(wanted, draws, level, size)
    steps = [_rotations(wanted.subject, draws[:, 2], level), _rotations(wanted.reference, draws[:, 3], level)]
    zero = np.zeros(len(kind))
    reference = Objects(wanted.reference, zero, zero, radii[1], steps[1])
    offset = np.where(single, 0.0, _offsets(wanted, draws, radii, level, size, steps))
    subject = Objects(wanted.subject, offset[0], offset[1], radii[0], steps[0])

    # Both objects are shrunk together until they fit, then put anywhere in the room that is left.
    points = subject.outline()
    low, high = points.min(axis=2), points.max(axis=2)
    points = reference.outline()
    low = np.where(single, low, np.minimum(low, points.min(axis=2)))
    high = np.where(single, high, np.maximum(high, points.max(axis=2)))
    room = 1.0 - 2 * MARGIN
    shrink = np.minimum(1.0, room / (high - low).max(axis=0))
    start = MARGIN + draws[:, 6:8].T * (room - shrink * (high - low)) - shrink * low
    placed = [
        Objects(o.shape, start[0] + shrink * o.x, start[1] + shrink * o.y, shrink * o.radius, o.steps)
        for o in (subject, reference)
    ]
    fits = (placed[0].radius >= least[0]) & (single | (placed[1].radius >= least[1]))
    return placed[0], placed[1], fits


def _radii(wanted: Wanted, draws: Array, level: Difficulty, size: int) -> tuple[Array, Array]:
    """Return proposed radii (2, n) of subject and reference, and the least acceptable ones."""
    kind = wanted.arrangement
    low, high = (np.where(kind == SINGLE, level.single[end], level.paired[end]) for end in (0, 1))
    lows, highs = np.stack([low, low]), np.stack([high, high])
    covering = kind == _COVERING
    # A covering subject is larger, for narrow shapes hide little; its reference stays recognisable.
    lows[0] += 0.05 * covering
    highs[0] += 0.06 * covering
    lows[0] = np.where(wanted.patterned, np.maximum(lows[0], LEAST_RADIUS_PATTERN), lows[0])
    radii = lows + draws[:, 0:2].T * (highs - lows)
    least = lows * 0.9
    inside = kind == _INSIDE
    _, room = rooms()
    radii[1] = np.where(inside, 0.36 + 0.12 * draws[:, 1], radii[1])
    snug = (room[wanted.reference] * radii[1] - 1.2 / min(size, 48)) / reaches()[wanted.subject]
    radii[0] = np.where(inside, snug * (0.78 + 0.34 * draws[:, 0]), radii[0])
    least = np.where(inside, np.array([[LEAST_RADIUS_INSIDE], [0.3]]), least)
    least[0] = np.where(wanted.patterned, np.maximum(least[0], LEAST_RADIUS_PATTERN), least[0])
    return radii, least


def _rotations(shape: Ints, draw: Array, level: Difficulty) -> Ints:
    """Return rotations in steps of a full turn over `TURN`, at most `level.turn` from upright."""
    steps = np.rint((2.0 * draw - 1.0) * level.turn / 360.0 * TURN).astype(np.int64) % TURN
    return np.where(np.isin(shape, _ROUND_SHAPES), 0, steps)


def _offsets(wanted: Wanted, draws: Array, radii: Array, level: Difficulty, size: int, steps: list[Ints]) -> Array:
    """Return the subject's centre (2, n) as seen from the reference's."""
    kind = wanted.arrangement
    far = (reaches()[wanted.subject] * radii[0]) + (reaches()[wanted.reference] * radii[1])
    cos, sin = cosine_sine((draws[:, 4] * TURN).astype(np.int64))
    direction = np.stack([cos, sin])
    slant = (2.0 * draws[:, 4] - 1.0) * level.slant
    for name, (ax, ay) in AXES.items():
        length = np.sqrt(1.0 + slant * slant)
        slanted = np.stack([(ax - ay * slant) / length, (ay + ax * slant) / length])
        direction = np.where(kind == RELATIONS.index(name), slanted, direction)

    distance = far + apart(size) * 1.25 + 0.09 * draws[:, 5]
    distance = np.where(kind == _COVERING, (0.35 + 0.75 * draws[:, 5]) * radii[1], distance)
    touching = np.flatnonzero(kind == _TOUCHING)
    if len(touching):
        distance[touching] = _contact(
            wanted.select(touching), radii[:, touching], [s[touching] for s in steps], direction[:, touching],
            far[touching], size,
        )  # fmt: skip

    centres, room = rooms()
    cos, sin = cosine_sine(steps[1])
    x, y = centres[wanted.reference].T
    loose = room[wanted.reference] * radii[1] - 1.2 / min(size, 48) - reaches()[wanted.subject] * radii[0]
    shift = 0.8 * np.maximum(loose, 0.0) * (2.0 * draws[:, 8:10].T - 1.0)
    within = radii[1] * np.stack([x * cos - y * sin, x * sin + y * cos]) + shift
    return np.asarray(np.where(kind == _INSIDE, within, direction * distance))


def _contact(wanted: Wanted, radii: Array, steps: list[Ints], direction: Array, far: Array, size: int) -> Array:
    """Return how far (n,) the subject is from the reference, along a direction, where they just touch."""
    zero = np.zeros(len(far))
    reference = Objects(wanted.reference, zero, zero, radii[1], steps[1])
    distance = far.copy()
    for _ in range(10):
        # Sphere tracing: moving by the gap can never overshoot the contact. They end a quarter pixel into each other.
        x, y = direction * distance
        subject = Objects(wanted.subject, x, y, radii[0], steps[0])
        distance -= gap(subject, reference) + 0.25 / size
    return distance
