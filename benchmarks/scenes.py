"""How fast scenes are rendered, and the contact sheet of docs/scenes.png.

python -m benchmarks.scenes                                  pictures per second, one process
python -m benchmarks.scenes --sheet docs/scenes.png          the sheet of the documentation
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from mas_triplets.data.scenes import DIFFICULTIES, Scene, SceneOptions, describe, render_block
from mas_triplets.data.sheet import BLUE as REFERENCE_BLUE
from mas_triplets.data.sheet import RED, Box, Cell, Line, contact_sheet


def pictures_per_second(options: SceneOptions, count: int, block: int, repeats: int = 3) -> float:
    """Return the best rate of `repeats` runs over `count` scenes, by processor time of this process.

    Layout, labels and painting are timed; the tables that are made once per process, and encoding, are not.
    """
    render_block(options, range(block))
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for first in range(0, count, block):
            render_block(options, range(first, min(first + block, count)))
        best = min(best, time.process_time() - start)
    return count / best


def scene_cell(picture: object, scene: Scene, boxes: bool = False) -> Cell:
    """Return the cell of a sheet that shows a scene with its labels, the target in red."""
    target, *others = describe(scene)
    drawn = []
    if boxes:
        drawn.append(Box(scene.subject_box, RED))
        if scene.object_box:
            drawn.append(Box(scene.object_box, REFERENCE_BLUE))
    return Cell(picture, [Line(target, RED), *others], drawn)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the rates, or draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="draw a contact sheet to this file instead of measuring")
    parser.add_argument("--difficulty", choices=tuple(DIFFICULTIES), default="normal")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first scene of the sheet")
    parser.add_argument("--scenes", type=int, default=18, help="how many scenes the sheet shows")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--cell", type=int, default=192, help="side of a picture in the sheet")
    parser.add_argument("--boxes", action="store_true", help="draw subject (red) and object boxes (blue)")
    parser.add_argument("--count", type=int, default=2048, help="how many scenes are timed")
    given = parser.parse_args(arguments)
    options = SceneOptions(size=given.size, seed=given.seed, difficulty=given.difficulty)
    if given.sheet:
        block = render_block(options, range(given.first, given.first + given.scenes))
        cells = [
            scene_cell(picture, scene, given.boxes) for picture, scene in zip(block.pictures, block.scenes, strict=True)
        ]
        sheet = contact_sheet(cells, given.columns, given.cell)
        sheet.save(given.sheet, optimize=True)
        print(f"{given.sheet}: {sheet.width} x {sheet.height}, {given.sheet.stat().st_size // 1024} KB")
        return
    for block_size in (1, 32, 256):
        rate = pictures_per_second(options, max(given.count // (1 if block_size > 1 else 16), 1), block_size)
        print(f"blocks of {block_size:3d}: {rate:7.0f} pictures per second ({options.size} px, {given.difficulty})")


if __name__ == "__main__":
    main()
