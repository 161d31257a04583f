"""What a model is fed: pixels of items, or what the frozen part of its encoder gave for them, kept on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.config import RunConfig
from mas_triplets.data.decoding import Decoded, Decoder
from mas_triplets.data.items import Items
from mas_triplets.data.pixels import Kept, Reading, cached_pixels, counted, items_key, kept_rows
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.files import sha256_of_json
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent

BATCH = 128
"""Items a batch, where nothing is learnt."""

_ENCODED = 16  # pictures at once on a CPU: with more, each activation is memory that the system has to clear anew


class ItemInputs(ABC):
    """The inputs of the items of a data set.

    Attributes:
        unreadable: pictures that cannot be read, as far as found: number -> why.
    """

    unreadable: dict[int, str]

    @abstractmethod
    def batches(self, items: IntArray, sizes: int | Sequence[int] = BATCH) -> Iterator[tuple[IntArray, Tensor]]:
        """Yield the inputs of `items` in order, a batch at a time.

        Args:
            items: which items.
            sizes: items a batch (the last may be smaller), or the size of each batch.

        Yields:
            (n,) positions in the batch of the items that could be read, and their inputs: (n, H, W, 3) uint8 pixels, or
            (n, ...) float32, what the encoder's frozen part gave.
        """

    def arranged(self, items: IntArray) -> IntArray:
        """Return the items in an order in which reading them is not wasteful, as near to theirs as can be."""
        return items

    def inputs(self, items: IntArray) -> Iterator[Tensor]:
        """Yield the inputs of those of the items that can be read, a batch at a time."""
        for _, batch in self.batches(items):
            if len(batch):
                yield batch


class KeptInputs(ItemInputs):
    """Rows read from a memory map: nothing is decoded or encoded a second time."""

    def __init__(self, kept: Kept, image: IntArray, device: str = "cpu") -> None:
        self._rows, self._device = kept.rows, device
        self.unreadable = kept.unreadable
        self._readable = ~np.isin(image, list(kept.unreadable))

    def batches(self, items: IntArray, sizes: int | Sequence[int] = BATCH) -> Iterator[tuple[IntArray, Tensor]]:
        """Yield the inputs of `items` in order: see `ItemInputs`."""
        for start, stop in batch_bounds(len(items), sizes):
            batch = items[start:stop]
            positions = np.flatnonzero(self._readable[batch])
            rows = torch.from_numpy(self._rows[batch[positions]]).to(self._device)
            yield positions, rows.float() if rows.is_floating_point() else rows


class StreamedInputs(ItemInputs):
    """Pixels that are decoded whenever they are asked for, ahead of who asks; nothing is kept on disk."""

    def __init__(self, decoder: Decoder, reading: Reading, device: str = "cpu") -> None:
        self._decoder, self._reading, self._device = decoder, reading, device
        self.unreadable = {}

    def arranged(self, items: IntArray) -> IntArray:
        """Bring the items of a picture together, at the place of its first: each picture is decoded once."""
        image = self._decoder.items.image[items]
        _, first, which = np.unique(image, return_index=True, return_inverse=True)
        return items[np.argsort(first[which], kind="stable")]

    def batches(self, items: IntArray, sizes: int | Sequence[int] = BATCH) -> Iterator[tuple[IntArray, Tensor]]:
        """Yield the inputs of `items` in order: see `ItemInputs`."""
        size = self._decoder.view.size
        found = self._reading.decode(self._decoder, items)
        pending: Decoded | None = None
        taken = 0  # of the pending run
        for start, stop in batch_bounds(len(items), sizes):
            pixels: list[npt.NDArray[np.uint8]] = []
            positions: list[int] = []
            place = 0
            while place < stop - start:
                if pending is None or taken == pending.count:
                    pending, taken = next(found), 0
                    if pending.problem is not None and pending.image not in self.unreadable:
                        self.unreadable[pending.image] = pending.problem
                        self._reading.check(self.unreadable)
                count = min(pending.count - taken, stop - start - place)
                if pending.pixels is not None:
                    pixels.append(pending.pixels[taken : taken + count])
                    positions += range(place, place + count)
                taken += count
                place += count
            rows = np.concatenate(pixels) if pixels else np.empty((0, size, size, 3), dtype=np.uint8)
            yield np.array(positions, dtype=np.int64), torch.from_numpy(rows).to(self._device)


def encoding_batch(device: torch.device) -> int:
    """Return how many pictures an encoder is best given at once on a device where nothing is learnt."""
    return _ENCODED if device.type == "cpu" else BATCH


def batch_bounds(count: int, sizes: int | Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each batch of `count` items."""
    if isinstance(sizes, int):
        for start in range(0, count, sizes):
            yield start, min(start + sizes, count)
        return
    start = 0
    for size in sizes:
        yield start, start + size
        start += size


def item_inputs(
    model: TripletModel,
    dataset: PreparedDataset,
    items: Items,
    config: RunConfig,
    progress: Silent = SILENT,
    *,
    learning: bool = False,
) -> ItemInputs:
    """Return the inputs of all items of a data set, decoding and encoding what the cache does not hold yet.

    Args:
        model: whose inputs they are.
        dataset: the data set.
        items: its items.
        config: of the run: where the cache is (the data set's own `cache/` if it does not say), how pictures are read.
        progress: who is told how far it is.
        learning: whether the inputs are learnt from; what is augmented cannot be encoded beforehand.
    """
    cache = config.data.cache or dataset.folder / "cache"
    device = str(next(model.parameters()).device)
    reading = Reading(config.data.workers, config.data.max_unreadable)
    view = model.encoder.view
    if model.takes_features and _worth_keeping(config, learning):
        kept = _cached_features(model, dataset.paths, items, cache, reading, progress)
    elif config.data.decode == "every epoch":
        return StreamedInputs(Decoder(dataset.paths, items, view), reading, device)
    else:
        kept = cached_pixels(cache, dataset.paths, items, view, reading, progress)
    return KeptInputs(kept, items.image, device)


def _worth_keeping(config: RunConfig, learning: bool) -> bool:
    """Whether what the encoder's frozen part gives is kept on disk.

    The features of an encoder that is frozen as a whole are small. What goes into the first learnt block is large, and
    kept only if decoded pictures may be kept too, and if every epoch can read it.
    """
    changed = config.train.augmentation.changes
    if config.model.image.frozen:
        return not (changed and learning)
    return not changed and config.data.decode == "once"


def _cached_features(
    model: TripletModel, paths: Sequence[Path], items: Items, cache: Path, reading: Reading, progress: Silent
) -> Kept:
    config, encoder = model.config.image, model.encoder
    assert encoder.kept_shape is not None
    key = sha256_of_json([encoder.fingerprint(), config.features, *items_key(cache, paths, items, encoder.view)])
    decoder = Decoder(paths, items, encoder.view)

    def blocks() -> Iterator[tuple[npt.NDArray[Any] | None, Sequence[Decoded]]]:
        found = reading.decode(decoder, np.arange(len(items)))
        waiting: list[Decoded] = []
        held = 0
        for one in counted(found, f"encoding with {config.name}", len(items), progress):
            waiting.append(one)
            held += one.count
            if held >= BATCH:
                yield _encoded(model, waiting), waiting
                waiting, held = [], 0
        yield _encoded(model, waiting), waiting

    name = f"features-{config.name}-{key[:16]}.npy"
    shape = (len(items), *encoder.kept_shape)
    return kept_rows(cache / name, shape, np.dtype(config.features), blocks, reading)


def _encoded(model: TripletModel, found: Sequence[Decoded]) -> npt.NDArray[np.float32] | None:
    """Return what the encoder's frozen part gives for all items that could be read; None if none could."""
    pixels = [one.pixels for one in found if one.pixels is not None]
    if not pixels:
        return None
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    together, at_once = np.concatenate(pixels), encoding_batch(device)
    with torch.no_grad():
        rows = [
            model.encoder.frozen_part(torch.from_numpy(together[start : start + at_once]).to(device)).cpu()
            for start in range(0, len(together), at_once)
        ]
    model.train(was_training)
    features: npt.NDArray[np.float32] = torch.cat(rows).numpy()
    return features
