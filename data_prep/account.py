"""What the person who prepares a data set is told: counts beside the published ones, and what was not expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_prep.records import About, Picture
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.format import PARTS


def account(
    about: About,
    pictures: Mapping[str, Picture],
    scale: Mapping[str, object],
    images: Path | None,
    builder: DatasetBuilder,
) -> Iterator[str]:
    """Note the source's counts in the builder, and yield a sentence for each thing that was not to be expected."""
    counts = Counter(picture.part for picture in pictures.values())
    read = {part: counts[part] for part in PARTS if counts[part]} | {"all": len(pictures)}
    builder.source_pictures = {"read": read, **({"published": dict(about.published)} if about.published else {})}
    if images is None:
        yield "Prepared without its pictures: give their folder with --images before training."
    for part, number in about.published.items():
        if read.get(part, number) != number:
            where = "" if part == "all" else f" in {part}"
            yield f"{read[part]:,} pictures{where}, where the authors published {number:,}."
    if scale:
        yield f"{len(scale):,} pictures are not as large as the source says, such as {min(scale)}: boxes are scaled."
    without = len(pictures) - builder.pictures_in_use()
    if without:
        yield f"{without:,} pictures have no fact, or none that was kept: they are not in the data set."
