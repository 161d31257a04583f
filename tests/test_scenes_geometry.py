"""Every label of a rendered scene is true: judged from high-resolution masks, not from the layout code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mas_triplets.data.scenes import (
    COLOURS,
    DIFFICULTIES,
    RELATIONS,
    SHAPES,
    PlacedShape,
    SceneOptions,
    render_block,
    vocabulary,
)
from mas_triplets.data.scenes import layout as layout_module
from mas_triplets.data.scenes import relations as states_module
from mas_triplets.data.scenes.fields import TURN
from mas_triplets.data.scenes.raster import coverage, frames
from mas_triplets.data.scenes.relations import Objects, states
from mas_triplets.data.scenes.scene import SceneBlock
from mas_triplets.data.scenes.shapes import contours
from mas_triplets.data.scenes.strokes import DRAWS as STROKE_DRAWS
from mas_triplets.data.scenes.strokes import draw_strokes
from mas_triplets.facts import Fact

Mask = NDArray[np.bool_]
TRUE, FALSE, UNCLEAR = "true", "false", "unclear"
SLACK = 0.15  # pixels that the masks may be off


@dataclass
class Drawn:
    """An object drawn by the test: masks at `zoom` pixels to one, and its outline in pixels."""

    body: Mask
    filled: Mask
    outline: NDArray[np.float64]
    centre: NDArray[np.float64]


def place(polygon: NDArray[np.float64], shape: PlacedShape) -> NDArray[np.float64]:
    turned = [
        (
            shape.centre[0] + shape.radius * (x * math.cos(shape.rotation) - y * math.sin(shape.rotation)),
            shape.centre[1] + shape.radius * (x * math.sin(shape.rotation) + y * math.cos(shape.rotation)),
        )
        for x, y in polygon
    ]
    return np.array(turned)


def mask_of(polygon: NDArray[np.float64], size: int, zoom: int) -> Mask:
    image = Image.new("1", (size * zoom, size * zoom))
    # PIL counts pixels by their centres, hence the half.
    ImageDraw.Draw(image).polygon([tuple(point) for point in (polygon * zoom - 0.5).tolist()], fill=1)
    return np.array(image, dtype=bool)


def dense(polygon: NDArray[np.float64], spacing: float = 0.3) -> NDArray[np.float64]:
    pieces = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        steps = max(1, math.ceil(float(np.hypot(*(end - start))) / spacing))
        pieces.append(start + (end - start) * (np.arange(steps) / steps)[:, None])
    return np.concatenate(pieces)


def draw(shape: PlacedShape, size: int, zoom: int) -> Drawn:
    polygons = [place(polygon, shape) for polygon in contours(shape.shape)]
    filled = mask_of(polygons[0], size, zoom)
    body = filled.copy()
    for hole in polygons[1:]:
        body &= ~mask_of(hole, size, zoom)
    rows, columns = np.nonzero(filled)
    centre = (np.array([columns.mean(), rows.mean()]) + 0.5) / zoom
    return Drawn(body, filled, dense(polygons[0]), centre)


def distance_to(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of every point to the nearest of the others."""
    difference = points[:, None] - others[None]
    return np.asarray(np.sqrt((difference**2).sum(axis=2).min(axis=1)))


def within(points: NDArray[np.float64], mask: Mask, zoom: int) -> Mask:
    column, row = np.clip((points * zoom).astype(int).T, 0, len(mask) - 1)
    return np.asarray(mask[row, column])


def depth_of(one: Drawn, other: Drawn, zoom: int) -> float:
    """How deep, in pixels, one outline reaches into the other; 0 if they do not overlap."""
    depths = [0.0]
    for inner, outer in ((one, other), (other, one)):
        inside = within(inner.outline, outer.filled, zoom)
        if inside.any():
            depths.append(float(distance_to(inner.outline[inside], outer.outline).max()))
    return max(depths)


def verdicts(subject: PlacedShape, reference: PlacedShape, size: int, zoom: int = 8) -> dict[str, str]:
    """What a person with a ruler says of each relation."""
    one, other = draw(subject, size, zoom), draw(reference, size, zoom)
    dx, dy = one.centre - other.centre
    depth = depth_of(one, other, zoom)
    gap = float(distance_to(one.outline, other.outline).min())
    unit = size / 48
    hidden = (one.body & other.body).sum() / other.body.sum()
    outside = ~within(one.outline, other.filled, zoom)
    sticking_out = float(distance_to(one.outline[outside], other.outline).max()) if outside.any() else 0.0
    beyond = ~within(other.outline, one.filled, zoom)
    showing = float(distance_to(other.outline[beyond], one.outline).max()) if beyond.any() else 0.0
    free_of_body = not (one.filled & other.body).any() if reference.shape == "ring" else True
    is_inside = not (one.filled & ~other.filled).any() and free_of_body
    answer = {}
    directions = {"above": (-dy, dx), "below": (dy, dx), "left of": (-dx, dy), "right of": (dx, dy)}
    for relation, (along, across) in directions.items():
        slope = math.inf if along <= 0 else abs(across) / along
        if along >= 0.2 * size - SLACK and slope <= 0.5 + 0.02 and depth <= 1.0 + SLACK:
            answer[relation] = TRUE
        else:
            is_false = along <= SLACK or slope >= 1 / 0.75 - 0.05 or depth >= 3 * unit - SLACK
            answer[relation] = FALSE if is_false else UNCLEAR
    if depth <= 1.0 + SLACK and (depth > 0 or gap <= 0.5 + SLACK):
        answer["touching"] = TRUE
    else:
        clear = depth == 0 and gap >= 1.75 * max(unit, 1.0) - SLACK if size >= 48 else gap >= 1.75 - SLACK
        answer["touching"] = FALSE if clear or depth >= 3 * unit - SLACK else UNCLEAR
    answer["inside"] = TRUE if is_inside else FALSE if sticking_out >= 2 * unit - SLACK else UNCLEAR
    if 0.25 <= hidden <= 0.62 and min(sticking_out, showing) >= 2 * unit - SLACK:
        answer["covering"] = TRUE
    else:
        answer["covering"] = FALSE if hidden <= 0.11 or is_inside else UNCLEAR
    return answer


def check_facts(block: SceneBlock, options: SceneOptions) -> dict[str, int]:
    """Check every label of the block; return how often each relation was found labelled."""
    known = set(vocabulary(options))
    seen = dict.fromkeys(RELATIONS, 0)
    for scene in block.scenes:
        subject, reference = scene.subject, scene.reference
        assert scene.target in scene.facts
        assert list(scene.facts) == sorted(set(scene.facts), key=lambda fact: fact.sort_key)
        true = {Fact(subject.shape), Fact(subject.shape, subject.colour)}
        if subject.pattern:
            true.add(Fact(subject.shape, subject.pattern))
        if reference:
            assert reference.colour == "dark grey"
            assert reference.shape != subject.shape
            for relation, verdict in verdicts(subject, reference, options.size).items():
                fact = Fact(subject.shape, relation, reference.shape)
                if fact in known:
                    assert verdict != UNCLEAR, (scene.index, str(fact))
                if verdict == TRUE:
                    true.add(fact)
                    seen[relation] += fact in known
        assert set(scene.facts) == true & known, (scene.index, [str(fact) for fact in scene.facts])
    return seen


@pytest.mark.parametrize(
    ("options", "first", "count"),
    [
        (SceneOptions(), 0, 240),
        (SceneOptions(difficulty="hard", seed=5), 1000, 120),
        (SceneOptions(difficulty="easy", size=32), 0, 120),
        (SceneOptions(size=96, seed=2), 0, 45),
        # Every relation between every two shapes is in this vocabulary: none may ever be unclear, several may hold.
        (SceneOptions(order3_facts=7 * 56, seed=1), 0, 140),
    ],
)
def test_labels_are_exactly_the_true_facts(options: SceneOptions, first: int, count: int) -> None:
    block = render_block(options, range(first, first + count))
    seen = check_facts(block, options)
    assert min(seen.values()) >= count / 60, seen


def test_a_scene_above_and_touching_has_both_labels() -> None:
    options = SceneOptions(attributes=())
    scenes = render_block(options, range(640)).scenes
    both = [
        scene
        for scene in scenes
        if {"touching", "above"} <= {fact.predicate for fact in scene.facts}
        or {"touching", "below"} <= {fact.predicate for fact in scene.facts}
    ]
    assert both
    assert check_facts(SceneBlock(np.empty(0, np.uint8), tuple(both)), options)["touching"] == len(both)


def test_the_fallback_layouts_are_valid_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "ATTEMPTS", 0)
    options = SceneOptions()
    layout_module.fallback.cache_clear()
    block = render_block(options, range(120))
    assert layout_module.fallback.cache_info().misses > 50
    assert min(check_facts(block, options).values()) >= 8


def ellipse(shape: str, x: float, y: float, radius: float) -> PlacedShape:
    return PlacedShape(shape, (x, y), radius, 0.0, "red", (200, 0, 0))


@pytest.mark.parametrize(
    ("subject", "reference", "expected"),
    [
        (ellipse("circle", 24, 10, 7), ellipse("square", 24, 35, 7), {"above"}),
        (ellipse("circle", 24, 35, 7), ellipse("square", 24, 10, 7), {"below"}),
        (ellipse("circle", 10, 26, 7), ellipse("circle", 35, 24, 7), {"left of"}),
        (ellipse("circle", 24, 12, 10), ellipse("circle", 24, 29.6, 10), {"above", "touching"}),
        (ellipse("circle", 24, 24, 7), ellipse("ring", 24, 24, 20), {"inside"}),
        (ellipse("circle", 24, 24, 14), ellipse("ring", 24, 24, 20), set()),
        (ellipse("circle", 30, 24, 10), ellipse("circle", 22, 24, 9), {"covering"}),
        (ellipse("ring", 25, 24, 18), ellipse("circle", 22, 24, 14), set()),
        (ellipse("circle", 12, 12, 6), ellipse("circle", 34, 34, 6), set()),
    ],
)
def test_the_ruler_itself(subject: PlacedShape, reference: PlacedShape, expected: set[str]) -> None:
    found = verdicts(subject, reference, 48)
    assert {relation for relation, verdict in found.items() if verdict == TRUE} == expected


def test_measured_states_agree_with_the_ruler() -> None:
    """On placements at random, close calls among them: TRUE is true, and what is true is never called FALSE."""
    random = np.random.default_rng(8)
    count, size = 560, 48
    shapes = random.integers(0, len(SHAPES), (2, count))
    radii = random.uniform(0.12, 0.22, (2, count))
    x, y = random.uniform(0.3, 0.7, (2, 2, count))
    shapes[1, :200] = SHAPES.index("ring")  # subjects of all sizes about the hole of a ring
    radii[0, :200], radii[1, :200] = random.uniform(0.1, 0.25, 200), 0.4
    x[:, :200] = y[:, :200] = 0.5
    x[0, :200] += random.uniform(-0.05, 0.05, 200)
    beside = np.arange(200, 450)  # circles at a gap of -2 to 3 pixels
    shapes[:, beside] = SHAPES.index("circle")
    radii[:, beside] = random.uniform(0.12, 0.17, (2, 250))
    half = (0.88 * radii[:, beside].sum(axis=0) + random.uniform(-2, 3, 250) / size) / 2
    angles = random.uniform(0, 2 * math.pi, 250)
    for k, sign in enumerate((1, -1)):
        x[k, beside] = 0.5 + sign * half * np.cos(angles)
        y[k, beside] = 0.5 + sign * half * np.sin(angles)
    steps = random.integers(0, TURN, (2, count))
    one, other = (Objects(shapes[k], x[k], y[k], radii[k], steps[k]) for k in range(2))
    found, _ = states(one, other, size)
    tally = dict.fromkeys(RELATIONS, 0)
    for row in range(count):
        placed = [
            PlacedShape(
                SHAPES[shapes[k, row]],
                (x[k, row] * size, y[k, row] * size),
                radii[k, row] * size,
                steps[k, row] * 2 * math.pi / TURN,
                "red",
                (0, 0, 0),
            )
            for k in range(2)
        ]
        ruled = verdicts(placed[0], placed[1], size)
        for relation, state in zip(RELATIONS, found[row], strict=True):
            if state == states_module.TRUE:
                assert ruled[relation] == TRUE, (row, relation, placed)
                tally[relation] += 1
            elif ruled[relation] == TRUE:
                assert state == states_module.UNCLEAR, (row, relation, placed)
    assert min(tally.values()) >= 5, tally


def test_strokes_touch_nothing() -> None:
    level = DIFFICULTIES["hard"]
    random = np.random.default_rng(2)
    count, size = 200, 48
    everywhere = np.ones(count, dtype=bool)
    centres = random.uniform(0.25, 0.75, (2, 2, count))
    shapes = random.integers(0, len(SHAPES), (2, count))
    objects = [
        Objects(shapes[k], centres[k, 0], centres[k, 1], np.full(count, 0.2), random.integers(0, TURN, count))
        for k in range(2)
    ]
    canvas = np.full((count, 3, size, size), 120.0, dtype=np.float32)
    pair = ((objects[0], everywhere), (objects[1], everywhere))
    draw_strokes(canvas, pair, random.random((count, STROKE_DRAWS)), level)
    struck = np.abs(canvas[:, 0] - 120.0) > 1.0
    assert struck.any(axis=(1, 2)).mean() > 0.5
    assert struck.mean() < 0.05
    objects_cover = np.maximum(*(coverage(one, *frames(one, size)) for one in objects)) > 0
    for dy, dx in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        assert not (struck & np.roll(objects_cover, (dy, dx), axis=(1, 2))).any()


@pytest.fixture(scope="module")
def hard_block() -> SceneBlock:
    return render_block(SceneOptions(seed=3, difficulty="hard"), range(240))


def test_pictures_show_what_is_described(hard_block: SceneBlock) -> None:
    """In the pixels: the subject has its colour, ink where it is patterned, and the reference is dark."""
    prototypes = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 70, 220), "yellow": (235, 205, 40)}
    prototypes["white"] = (245, 245, 245)
    for picture, scene in zip(hard_block.pictures, hard_block.scenes, strict=True):
        subject = draw(scene.subject, 48, 10)
        pixels = picture[whole_pixels(subject.body)].astype(float)
        dark = pixels.max(axis=1) < 0.55 * max(scene.subject.rgb)
        if scene.subject.pattern:
            assert 0.08 < dark.mean() < 0.75, scene.index
        else:
            assert dark.mean() < 0.04, scene.index
        light = pixels[pixels.max(axis=1) > 0.8 * max(scene.subject.rgb)].mean(axis=0)
        distances = {name: float(np.abs(light - np.array(rgb)).sum()) for name, rgb in prototypes.items()}
        assert min(distances, key=distances.__getitem__) == scene.subject.colour, scene.index
        if scene.reference:
            reference = draw(scene.reference, 48, 10)
            seen = picture[whole_pixels(reference.body & ~subject.body)]
            assert len(seen) >= 12
            assert seen.mean() < 75, scene.index


def whole_pixels(mask: Mask) -> Mask:
    """The picture's pixels that lie wholly in a mask ten times as large."""
    side = len(mask) // 10
    return np.asarray(mask.reshape(side, 10, side, 10).all(axis=(1, 3)))


def lab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIELAB (D65) of an sRGB colour, 0 to 255."""
    share = np.asarray(rgb, dtype=float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (matrix @ linear) / np.array([0.9505, 1.0, 1.089])
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def test_objects_stand_out_from_what_is_around_them(hard_block: SceneBlock) -> None:
    for picture, scene in zip(hard_block.pictures, hard_block.scenes, strict=True):
        subject = draw(scene.subject, 48, 10)
        nothing = np.zeros_like(subject.body)
        reference = draw(scene.reference, 48, 10).body if scene.reference else nothing
        touched = (subject.body | reference).reshape(48, 10, 48, 10).any(axis=(1, 3))
        around = np.zeros_like(touched)
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                around |= np.roll(touched, (dy, dx), axis=(0, 1))
        background = lab(picture[around & ~touched].mean(axis=0))
        # 20 in CIELAB is about nine times the least difference the eye sees.
        assert np.linalg.norm(lab(np.array(scene.subject.rgb)) - background) > 20, scene.index
        if scene.reference:
            grey = lab(np.array(scene.reference.rgb))
            assert np.linalg.norm(grey - background) > 20, scene.index
            assert np.linalg.norm(lab(np.array(scene.subject.rgb)) - grey) > 20, scene.index


@pytest.mark.parametrize("size", [32, 48, 130])
def test_objects_are_in_the_frame_large_enough_and_in_their_boxes(size: int) -> None:
    for scene in render_block(SceneOptions(size=size), range(120)).scenes:
        for shape, box in ((scene.subject, scene.subject_box), (scene.reference, scene.object_box)):
            assert (shape is None) == (box is None)
            if shape is None or box is None:
                continue
            outline = place(contours(shape.shape)[0], shape)
            low, high = outline.min(axis=0), outline.max(axis=0)
            assert (low >= 0.5).all()
            assert (high <= size - 0.5).all()
            assert min(high - low) >= 0.16 * size
            assert all(isinstance(edge, int) for edge in box)
            assert np.abs(np.array(box[:2]) - low).max() <= 1.0
            assert np.abs(np.array(box[2:]) - high).max() <= 1.0
            drawn = np.argwhere(draw(shape, size, 4).body)[:, ::-1] / 4
            assert (drawn.min(axis=0) >= np.array(box[:2]) - 0.4).all()
            assert (drawn.max(axis=0) + 0.25 <= np.array(box[2:]) + 0.4).all()


def test_every_shape_and_colour_appears_as_often(hard_block: SceneBlock) -> None:
    shapes = [scene.subject.shape for scene in hard_block.scenes]
    assert {shapes.count(shape) for shape in SHAPES} == {30}
    colours = [scene.subject.colour for scene in hard_block.scenes]
    assert min(colours.count(colour) for colour in COLOURS) >= 30
