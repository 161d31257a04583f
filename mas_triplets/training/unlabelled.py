"""Pictures that say what matters where a model is used: those of a folder, or some of a data set.

A model learns nothing from them. The labels of a data set may choose its pictures; what is made of them uses none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mas_triplets.config import RunConfig
from mas_triplets.data.decoding import Decoder
from mas_triplets.data.format import PARTS
from mas_triplets.data.images import find_pictures
from mas_triplets.data.items import Items, Region, items_of, unlabelled_items
from mas_triplets.data.pixels import Reading
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.errors import UserError, unknown
from mas_triplets.facts import Fact
from mas_triplets.files import sha256_of_file, sha256_of_json
from mas_triplets.model.inputs import ItemInputs, StreamedInputs, item_inputs
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent

CHOICES = (*PARTS, "all")
"""What may be named as the part of a data set."""


@dataclass(frozen=True)
class Unlabelled:
    """Pictures, or boxes in them, whose labels are not looked at.

    Attributes:
        place: the folder they come from.
        paths: (I,) the file of each picture.
        items: what may be looked at.
        chosen: (n,) the items that are.
        choice: how they were chosen, in plain values.
        dataset: the data set they are of; None for a folder.
    """

    place: Path
    paths: list[Path]
    items: Items
    chosen: IntArray
    choice: Mapping[str, object]
    dataset: PreparedDataset | None = None

    def sample(self, limit: int) -> Unlabelled:
        """Return at most `limit` of them, evenly spaced: of 10 items a limit of 4 takes items 0, 2, 5, 7."""
        count = len(self.chosen)
        kept = self.chosen if count <= limit else self.chosen[np.arange(limit) * count // limit]
        return dataclasses.replace(self, chosen=kept, choice={**self.choice, "limit": limit})

    def inputs(self, model: TripletModel, config: RunConfig, learnt_from: str, progress: Silent = SILENT) -> ItemInputs:
        """Return what the model is fed: what is kept on disk of the run's own data set; anything else is streamed.

        Args:
            model: whose inputs they are.
            config: of the run.
            learnt_from: fingerprint of the data set it was trained on, of which training has kept what it decoded.
            progress: who is told how far it is.
        """
        if self.dataset is not None and self.dataset.fingerprint == learnt_from:
            return item_inputs(model, self.dataset, self.items, config, progress, learning=True)
        device = str(next(model.parameters()).device)
        reading = Reading(config.data.workers, max_unreadable=len(self.paths))  # they are told, and missed by nobody
        return StreamedInputs(Decoder(self.paths, self.items, model.encoder.view), reading, device)

    def fingerprint(self, items: IntArray) -> str:
        """SHA-256 that tells which of the items were used: of the files of a folder, or the rows of a data set."""
        if self.dataset is not None:
            return sha256_of_json([self.dataset.fingerprint, items.tolist()])
        return sha256_of_json([sha256_of_file(self.paths[image]) for image in self.items.image[items]])


def unlabelled(
    images: Path, region: Region, *, part: str | None = None, facts: Sequence[Fact] = (), limit: int | None = None
) -> Unlabelled:
    """Return the pictures of a folder, sub-folders included, or of a prepared data set.

    Args:
        images: the folder, or the data set.
        region: whether a data set has an item for each picture or for each box; of a folder, pictures are whole.
        part: `train`, `val`, `test` or `all` of a data set; None is `train`.
        facts: queries, for experiments; of a data set, only items that show a fact that one of them covers.
        limit: at most so many items, evenly spaced; None takes all.

    Raises:
        UserError: there is no picture, or a folder, which has neither parts nor labels, is asked for some.
    """
    if (images / "dataset.json").is_file():
        dataset = PreparedDataset.open(images)
        dataset.check_has_pictures()
        found = _of_dataset(dataset, region, part or "train", facts)
    elif part is not None or facts:
        raise UserError(
            f"{images} is a folder of pictures, which has no parts and no labels: leave --part and --fact out, or "
            "give a prepared data set"
        )
    else:
        paths = find_pictures(images)
        found = Unlabelled(images, paths, unlabelled_items(len(paths)), np.arange(len(paths)), {})
    return found if limit is None else found.sample(limit)


def _of_dataset(dataset: PreparedDataset, region: Region, part: str, facts: Sequence[Fact]) -> Unlabelled:
    if part not in CHOICES:
        raise unknown("part", part, CHOICES)
    parts = PARTS if part == "all" else (part,)
    items = items_of(dataset, region)
    if facts:
        chosen = items.select(parts, covered_facts(dataset, facts))
    else:
        chosen = np.flatnonzero(np.isin(items.part, [PARTS.index(one) for one in parts]))
    asked = [str(fact) for fact in facts]
    if not len(chosen):
        that = f" that shows {' or '.join(asked)}" if asked else ""
        raise UserError(f"{dataset.folder} has no picture in the part '{part}'{that}: name another --part or --fact")
    return Unlabelled(dataset.folder, dataset.paths, items, chosen, {"part": part, "facts": asked}, dataset)


def covered_facts(dataset: PreparedDataset, queries: Sequence[Fact]) -> IntArray:
    """Return the facts, ascending, that one of the queries covers: <*, ride> covers <person, ride, horse>.

    Raises:
        UserError: there is none.
    """
    found = [number for number, fact in enumerate(dataset.facts) if any(query.covers(fact) for query in queries)]
    if not found:
        raise UserError(
            f"no fact of {dataset.folder} is covered by {' or '.join(map(str, queries))}: "
            f"`mas-triplets describe {dataset.folder}` tells what is in it"
        )
    return np.array(found, dtype=np.int64)
