"""The configuration of what is learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mas_triplets.config.nodes import Name, Node

Part = Literal["train", "val", "test"]


class DataConfig(Node):
    """What is learnt from."""

    path: Path
    """Folder of the prepared data set; a relative one is looked up from the working directory."""
    split: Name
    """Name of a split of the data set: `splits/NAME.json`."""
    region: Literal["image", "box"] = "image"
    """What is embedded: the whole picture, or the box of each fact."""
    train_parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("train",)
    """Parts whose pictures are learnt from; add `val` for a final run, once nothing is left to choose."""
    shared_pictures: bool = True
    """Whether a picture is learnt from in every task that it shows a fact of; with false in one of them only, drawn at
    random by the split's seed, with the facts of that task."""
    unseen_facts: Literal["error", "allow"] = "error"
    """What to do about facts without a training picture: stop, or learn the others and judge these as unseen."""
    cache: Path | None = None
    """Folder for decoded pictures and features; the data set's own `cache/` if none is given."""
    decode: Literal["once", "every epoch"] = "once"
    """`once` keeps decoded pictures on disk, (pictures) x size x size x 3 bytes; `every epoch` keeps nothing."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that decode pictures; null takes one a processor, at most 8; 0 decodes in threads of the main one."""
    max_unreadable: Annotated[int, Field(ge=0)] = 10
    """So many pictures that cannot be read are left out, counted and named; one more stops the run."""
