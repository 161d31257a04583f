"""Writing rendered scenes as a prepared data set."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

from PIL import Image

from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.scenes.card import card_text
from mas_triplets.data.scenes.options import SceneOptions
from mas_triplets.data.scenes.render import render_block
from mas_triplets.data.scenes.scene import Scene
from mas_triplets.files import scratch_folder
from mas_triplets.progress import SILENT, Silent

COUNTS = {"train": 8000, "val": 1000, "test": 4000}
"""How many scenes each part has, unless told otherwise."""

_BLOCK = 256
_WORTH_A_PROCESS = 1000  # scenes: to start a process takes as long as to draw so many
_FASTEST = 1  # PNG compression level: noise does not compress, and a higher level costs four times the time


def prepare_scenes(
    out: Path,
    options: SceneOptions | None = None,
    counts: Mapping[str, int] = COUNTS,
    *,
    overwrite: bool = False,
    processes: int = 1,
    progress: Silent = SILENT,
) -> Path:
    """Render scenes and write them to the folder `out` as a prepared data set.

    Scenes are numbered through train, val and test in turn, so that the parts share no scene. The bytes written
    depend on neither `processes` nor the machine's speed.

    Args:
        out: the folder.
        options: size, vocabulary, difficulty and seed; the usual ones if None.
        counts: how many scenes each part has.
        overwrite: whether a data set that is there is replaced.
        processes: how many render at a time. More than one asks of a script that it keeps what it does under
            `if __name__ == "__main__":`, as `multiprocessing` does.
        progress: who is told how far it is.

    Raises:
        UserError: `out` holds something else.
    """
    options = options or SceneOptions()
    out = Path(os.path.abspath(out))  # noqa: PTH100 - absolute() leaves ".." and "."
    builder = DatasetBuilder(
        "scenes",
        about={"licence": "Apache-2.0, made by mas-triplets", "citation": "none needed"},
        options={**options.to_dict(), "counts": dict(counts)},
        notes=["Rendered scenes: shapes with colours, patterns and relations, made by arithmetic.", card_text(options)],
    )
    ends = {part: sum(list(counts.values())[: place + 1]) for place, part in enumerate(counts)}
    total = sum(counts.values())

    with scratch_folder(out.with_name(out.name + ".images")) as pictures, ExitStack() as stack:
        scenes = _drawn(options, total, pictures, min(processes, total // _WORTH_A_PROCESS), stack)
        for scene in progress.track(scenes, "rendering scenes", total):
            part = next(part for part, end in ends.items() if scene.index < end)
            _add(builder, scene, part, options.size)

        def fill(folder: Path) -> None:
            pictures.rename(folder / "images")

        return builder.write(out, fill=fill, overwrite=overwrite)


def _drawn(options: SceneOptions, total: int, folder: Path, processes: int, stack: ExitStack) -> Iterator[Scene]:
    """Yield the scenes in order, their pictures saved in `folder`: in other processes, or in threads of this one."""
    pool: Executor
    if processes > 1:
        context = multiprocessing.get_context("spawn")  # a forked process would inherit locks of threads it lacks
        pool = ProcessPoolExecutor(processes, mp_context=context)
    else:
        pool = ThreadPoolExecutor(2)  # Pillow saves the pictures of one block while NumPy draws the next
    stack.callback(pool.shutdown, cancel_futures=True)
    blocks = [range(start, min(start + _BLOCK, total)) for start in range(0, total, _BLOCK)]
    for scenes in pool.map(_draw_block, repeat(options), blocks, repeat(folder)):
        yield from scenes


def _draw_block(options: SceneOptions, indices: range, folder: Path) -> tuple[Scene, ...]:
    block = render_block(options, indices)
    for scene, pixels in zip(block.scenes, block.pictures, strict=True):
        Image.fromarray(pixels).save(folder / _file_name(scene), format="PNG", compress_level=_FASTEST)
    return block.scenes


def _file_name(scene: Scene) -> str:
    return f"{scene.index:06d}.png"


def _add(builder: DatasetBuilder, scene: Scene, part: str, size: int) -> None:
    name = _file_name(scene)
    image_id = name.removesuffix(".png")
    builder.add_image(image_id, f"images/{name}", (size, size), part, source_id=str(scene.index))
    for fact in scene.facts:
        builder.add_instance(
            image_id,
            fact,
            f"scenes#{scene.index}",
            subject_box=scene.subject_box,
            object_box=scene.object_box if fact.order == 3 else None,
        )
