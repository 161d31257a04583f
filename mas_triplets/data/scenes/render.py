"""Scenes from options and indices: draw the random numbers, lay out, label, paint.

Scene i has a random stream of its own, seeded by (seed, i), and nothing is computed across scenes. So it is the same
picture whichever other scenes are rendered with it, in whatever order, in whichever process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil, floor, pi

import numpy as np
from numpy.typing import NDArray

from mas_triplets.data.scenes import backdrop, colours, strokes
from mas_triplets.data.scenes.fields import SHAPE_ID, TURN
from mas_triplets.data.scenes.layout import (
    APART,
    ARRANGEMENTS,
    ATTEMPTS,
    DRAWS,
    LEAST_RADIUS_PATTERN,
    SINGLE,
    Layout,
    Wanted,
    lay_out,
)
from mas_triplets.data.scenes.options import COLOURS, PATTERNS, RELATIONS, SHAPES, SceneOptions
from mas_triplets.data.scenes.raster import blend, coverage, frames, spots, stripes
from mas_triplets.data.scenes.relations import Objects
from mas_triplets.data.scenes.scene import DARK_GREY, Box, PlacedShape, Scene, SceneBlock
from mas_triplets.data.scenes.vocabulary import target_of, vocabulary
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact

Array = NDArray[np.float64]
Slots = tuple[str | None, str | None, str | None]

PATTERN_SHARE = 0.15
"""Chance of each pattern where the target does not ask for one."""
_CHUNK = 16  # scenes painted together: few enough for their planes to stay in the processor's cache
_PARTS = {
    "choice": 8,
    "layout": ATTEMPTS * DRAWS,
    "paint": colours.PAINT_DRAWS,
    "grey": colours.GREY_DRAWS,
    "pattern": 2,
    "base": colours.BACKDROP_DRAWS,
    "backdrop": backdrop.DRAWS,
    "strokes": strokes.DRAWS,
}


def render_block(options: SceneOptions, indices: Sequence[int]) -> SceneBlock:
    """Render the scenes of `indices`, any non-negative whole numbers in any order.

    Returns:
        pictures uint8 (n, size, size, 3) and the n scenes; the same bytes for an index whatever the block.

    Raises:
        UserError: an index is negative or no whole number.
    """
    numbers = [_checked_index(index) for index in indices]
    size, count = options.size, len(numbers)
    draws = _draws(options.seed, numbers)
    targets = [target_of(options, index) for index in numbers]
    wanted, colour, pattern = _choose(options, targets, draws["choice"])
    layout = lay_out(wanted, draws["layout"].reshape(count, ATTEMPTS, DRAWS), options.level, size)
    pattern = np.where(layout.subject.radius >= LEAST_RADIUS_PATTERN, pattern, -1)
    fill, grey = colours.paint(colour, draws["paint"]), colours.dark_grey(draws["grey"])
    base = colours.backdrop(fill, draws["base"], options.level)
    present = wanted.arrangement != SINGLE

    pictures = np.empty((count, size, size, 3), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = np.arange(start, min(start + _CHUNK, count))
        canvas = np.empty((len(part), 3, size, size), dtype=np.float32)
        subject, reference = layout.subject.select(part), layout.reference.select(part)
        backdrop.paint_backgrounds(canvas, base[part], draws["backdrop"][part], options.level)
        pair = ((subject, np.ones(len(part), dtype=bool)), (reference, present[part]))
        strokes.draw_strokes(canvas, pair, draws["strokes"][part], options.level)
        _paint_references(canvas, reference, present[part], grey[part])
        _paint_subjects(canvas, subject, fill[part], pattern[part], draws["pattern"][part])
        backdrop.add_noise(canvas, draws["backdrop"][part], options.level)
        np.clip(canvas, 0, 255, out=canvas)
        canvas += np.float32(0.5)
        pictures[part] = canvas.transpose(0, 2, 3, 1).astype(np.uint8)
    scenes = _scenes(options, numbers, targets, wanted, layout, colour, pattern, fill, grey)
    return SceneBlock(pictures, scenes)


def scene_blocks(options: SceneOptions, start: int, stop: int, block: int = 256) -> Iterator[SceneBlock]:
    """Yield the scenes `start` to `stop` (excluded) in blocks of at most `block`."""
    for first in range(start, stop, block):
        yield render_block(options, range(first, min(first + block, stop)))


def _checked_index(index: int) -> int:
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or index < 0:
        raise UserError(f"{index!r} is not the number of a scene: give whole numbers from 0")
    return int(index)


def _draws(seed: int, indices: list[int]) -> dict[str, Array]:
    """Return the random numbers of every scene, by purpose: each (n, as many as `_PARTS` says)."""
    total = sum(_PARTS.values())
    table = np.empty((len(indices), total))
    for row, index in zip(table, indices, strict=True):
        row[:] = backdrop.uniform(np.random.PCG64(np.random.SeedSequence([seed, index])), total)
    ends = np.cumsum(list(_PARTS.values()))
    return {name: table[:, end - _PARTS[name] : end] for name, end in zip(_PARTS, ends, strict=True)}


def _choose(
    options: SceneOptions, targets: list[Fact], draws: Array
) -> tuple[Wanted, NDArray[np.int64], NDArray[np.int64]]:
    """Return what the targets ask for, the rest at random: arrangement and shapes, colour and pattern numbers.

    A pattern of -1 is none.
    """
    known = _facts_by_slots(options)
    paints = [name for name in COLOURS if name in options.attributes] or list(COLOURS)
    weaves = [name for name in PATTERNS if name in options.attributes]
    companions = [*(RELATIONS.index(name) for name in options.relations), APART]
    level = options.level
    rows = []
    for target, draw in zip(targets, draws.tolist(), strict=True):
        assert target.subject is not None
        colour = COLOURS.index(paints[int(draw[0] * len(paints))])
        pattern = -1
        if draw[1] < PATTERN_SHARE * len(weaves):
            pattern = PATTERNS.index(weaves[int(draw[1] / PATTERN_SHARE)])
        arrangement, reference = SINGLE, SHAPE_ID[target.subject]
        if target.object is not None:
            assert target.predicate is not None
            arrangement, reference = RELATIONS.index(target.predicate), SHAPE_ID[target.object]
        elif draw[2] < level.company and len(options.shapes) > 1:
            others = [shape for shape in options.shapes if shape != target.subject]
            reference = SHAPE_ID[others[int(draw[3] * len(others))]]
            arrangement = companions[int(draw[4] * len(companions))]
        if target.order == 2 and target.predicate in COLOURS:
            colour = COLOURS.index(target.predicate)
        patterned = target.order == 2 and target.predicate in PATTERNS
        if patterned:
            pattern = PATTERNS.index(str(target.predicate))
            if ARRANGEMENTS[arrangement] == "inside":
                arrangement = APART  # what is inside is often too small for a pattern
        clear = [(target.subject, relation, SHAPES[reference]) in known for relation in RELATIONS]
        rows.append(([arrangement, SHAPE_ID[target.subject], reference, patterned, colour, pattern], clear))
    table = np.array([numbers for numbers, _ in rows], dtype=np.int64).reshape(-1, 6)
    clear_table = np.array([clear for _, clear in rows], dtype=bool).reshape(-1, len(RELATIONS))
    wanted = Wanted(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), clear_table)
    return wanted, table[:, 4], table[:, 5]


@lru_cache(maxsize=64)
def _facts_by_slots(options: SceneOptions) -> dict[Slots, Fact]:
    return {fact.slots: fact for fact in vocabulary(options)}


def _paint_references(canvas: NDArray[np.float32], objects: Objects, present: NDArray[np.bool_], colour: Array) -> None:
    some = np.flatnonzero(present)
    if len(some):
        objects = objects.select(some)
        painted = canvas[some]
        blend(painted, coverage(objects, *frames(objects, canvas.shape[-1])), colour[some])
        canvas[some] = painted


def _paint_subjects(
    canvas: NDArray[np.float32], objects: Objects, fill: Array, pattern: NDArray[np.int64], draws: Array
) -> None:
    x, y = frames(objects, canvas.shape[-1])
    cover = coverage(objects, x, y)
    blend(canvas, cover, fill)
    for number, ink in ((PATTERNS.index("striped"), stripes), (PATTERNS.index("spotted"), spots)):
        some = np.flatnonzero(pattern == number)
        if len(some):
            painted = canvas[some]
            inked = ink(objects.select(some), x[some], y[some], draws[some]) * cover[some]
            blend(painted, inked, fill[some] * colours.INK)
            canvas[some] = painted


def _scenes(
    options: SceneOptions,
    indices: list[int],
    targets: list[Fact],
    wanted: Wanted,
    layout: Layout,
    colour: NDArray[np.int64],
    pattern: NDArray[np.int64],
    fill: Array,
    grey: Array,
) -> tuple[Scene, ...]:
    known = _facts_by_slots(options)
    boxes = [_boxes(objects, options.size) for objects in (layout.subject, layout.reference)]
    single = wanted.arrangement == SINGLE
    scenes = []
    for row, (index, target) in enumerate(zip(indices, targets, strict=True)):
        weave = PATTERNS[pattern[row]] if pattern[row] >= 0 else None
        name = COLOURS[colour[row]]
        subject = _placed(layout.subject, row, options.size, name, fill[row], weave)
        reference = None if single[row] else _placed(layout.reference, row, options.size, DARK_GREY, grey[row])
        true: list[Slots] = [(subject.shape, None, None), (subject.shape, name, None), (subject.shape, weave, None)]
        if reference:
            held = np.flatnonzero(layout.holds[row]).tolist()
            true += [(subject.shape, RELATIONS[number], reference.shape) for number in held]
        facts = sorted({known[slots] for slots in true if slots in known}, key=lambda fact: fact.sort_key)
        object_box = boxes[1][row] if reference else None
        scenes.append(Scene(index, target, tuple(facts), subject, reference, boxes[0][row], object_box))
    return tuple(scenes)


def _placed(objects: Objects, row: int, size: int, colour: str, rgb: Array, pattern: str | None = None) -> PlacedShape:
    red, green, blue = rgb.astype(int).tolist()
    return PlacedShape(
        shape=SHAPES[objects.shape[row]],
        centre=(float(objects.x[row]) * size, float(objects.y[row]) * size),
        radius=float(objects.radius[row]) * size,
        rotation=float(objects.steps[row]) * (2.0 * pi / TURN),
        colour=colour,
        rgb=(red, green, blue),
        pattern=pattern,
    )


def _boxes(objects: Objects, size: int) -> list[Box]:
    """Return tight boxes in whole pixels; a pixel that the outline enters by less than a tenth is left out."""
    points = objects.outline() * size
    low, high = points.min(axis=2).T.tolist(), points.max(axis=2).T.tolist()
    return [
        (floor(x1 + 0.1), floor(y1 + 0.1), ceil(x2 - 0.1), ceil(y2 - 0.1))
        for (x1, y1), (x2, y2) in zip(low, high, strict=True)
    ]
