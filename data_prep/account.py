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
    relations: Mapping[str | None, int],
    scale: Mapping[str, object],
    images: Path | None,
    builder: DatasetBuilder,
) -> Iterator[str]:
    """Note the source's counts in the builder, and yield a sentence for each thing that was not to be expected.

    Args:
        about: the source.
        pictures: all pictures of the source.
        relations: number of relations read a part.
        scale: of pictures whose boxes were scaled.
        images: the folder of the pictures, if any.
        builder: holds what was kept.
    """
    if images is None:
        yield "Prepared without its pictures: give their folder with --images before training."
    of_pictures = Counter(picture.part for picture in pictures.values())
    for what, counts, published in (
        ("pictures", of_pictures, about.published),
        ("relations", relations, about.published_relations),
    ):
        read = {part: number for part in PARTS if (number := counts.get(part))} | {"all": sum(counts.values())}
        if counts and (published or what == "pictures"):
            builder.source_counts[what] = {**({"published": dict(published)} if published else {}), "read": read}
        for part, number in published.items():
            if read.get(part, number) != number:
                where = "" if part == "all" else f" in {part}"
                yield f"{read[part]:,} {what}{where}, where the authors published {number:,}."
    if scale:
        yield f"{len(scale):,} pictures are not as large as the source says, such as {min(scale)}: boxes are scaled."
    without = len(pictures) - builder.pictures_in_use()
    if without:
        yield f"{without:,} pictures have no fact, or none that was kept: they are not in the data set."
