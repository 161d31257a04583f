"""Rendered scenes: labelled pictures of shapes in relations, made by arithmetic; the data set that is always there.

options = SceneOptions(size=48, seed=0)
block = render_block(options, range(256))    # pictures uint8 (256, 48, 48, 3) and their scenes with facts and boxes
"""

from mas_triplets.data.scenes.card import card_text
from mas_triplets.data.scenes.options import (
    ATTRIBUTES,
    COLOURS,
    DIFFICULTIES,
    PATTERNS,
    RELATIONS,
    SHAPES,
    SceneOptions,
)
from mas_triplets.data.scenes.render import render_block, scene_blocks
from mas_triplets.data.scenes.scene import PlacedShape, Scene, SceneBlock, describe
from mas_triplets.data.scenes.vocabulary import target_of, vocabulary

__all__ = [
    "ATTRIBUTES",
    "COLOURS",
    "DIFFICULTIES",
    "PATTERNS",
    "RELATIONS",
    "SHAPES",
    "PlacedShape",
    "Scene",
    "SceneBlock",
    "SceneOptions",
    "card_text",
    "describe",
    "render_block",
    "scene_blocks",
    "target_of",
    "vocabulary",
]
