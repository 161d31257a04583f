"""COCO's 80 categories by their official numbers, 1 to 90 with gaps, for files that give the numbers alone."""

from __future__ import annotations

_NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
_NOT_GIVEN = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers of categories that were planned and never annotated."""

COCO_CATEGORIES: dict[int, str] = dict(
    zip((number for number in range(1, 91) if number not in _NOT_GIVEN), _NAMES.split(", "), strict=True)
)
