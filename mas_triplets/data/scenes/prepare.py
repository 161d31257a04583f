"""Writing rendered scenes as a prepared data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.scenes.card import card_text
from mas_triplets.data.scenes.options import SceneOptions
from mas_triplets.data.scenes.render import scene_blocks
from mas_triplets.data.scenes.scene import Scene
from mas_triplets.files import scratch_folder
from mas_triplets.progress import SILENT, Silent

COUNTS = {"train": 8000, "val": 1000, "test": 4000}
"""How many scenes each part has, unless told otherwise."""

_FASTEST = 1  # PNG compression level: noise does not compress, and a higher level costs four times the time


def prepare_scenes(
    out: Path,
    options: SceneOptions | None = None,
    counts: Mapping[str, int] = COUNTS,
    *,
    overwrite: bool = False,
    progress: Silent = SILENT,
) -> Path:
    """Render scenes and write them to the folder `out` as a prepared data set.

    Scenes are numbered through train, val and test in turn, so that the parts share no scene.

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

    def save(job: tuple[Image.Image, Path]) -> None:
        job[0].save(job[1], format="PNG", compress_level=_FASTEST)

    with scratch_folder(out.with_name(out.name + ".images")) as pictures, ThreadPoolExecutor() as pool:
        saving: list[Future[None]] = []
        blocks = scene_blocks(options, 0, total)
        bar = iter(progress.track(range(total), "rendering scenes", total))
        for block in blocks:
            names = [f"{scene.index:06d}.png" for scene in block.scenes]
            jobs = [
                (Image.fromarray(pixels), pictures / name) for pixels, name in zip(block.pictures, names, strict=True)
            ]
            for future in saving:  # of the block before: pictures are saved while the next ones are rendered
                future.result()
            saving = [pool.submit(save, job) for job in jobs]
            for scene, name in zip(block.scenes, names, strict=True):
                part = next(part for part, end in ends.items() if scene.index < end)
                _add(builder, scene, name, part, options.size)
                next(bar)
        next(bar, None)  # ends the bar
        for future in saving:
            future.result()

        def fill(folder: Path) -> None:
            pictures.rename(folder / "images")

        return builder.write(out, fill=fill, overwrite=overwrite)


def _add(builder: DatasetBuilder, scene: Scene, name: str, part: str, size: int) -> None:
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
