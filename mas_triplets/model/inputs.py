"""What a model is fed: pixels of items for a trainable encoder, cached features for a frozen one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.data.items import Items
from mas_triplets.data.pixels import cached_array, cached_pixels, decoded_items, files_fingerprint
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.files import sha256_of_json
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent

_BATCH = 128


class ItemInputs:
    """Rows of pixels or features by item, read from a memory map; nothing is decoded or encoded a second time."""

    def __init__(self, rows: npt.NDArray[Any], device: str = "cpu") -> None:
        self._rows = rows
        self._device = device

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, items: IntArray) -> Tensor:
        """Return the inputs of `items`: (n, H, W, 3) uint8 pixels or (n, features) float32 features."""
        return torch.from_numpy(self._rows[items]).to(self._device)

    def batches(self, items: IntArray, size: int = _BATCH) -> Iterator[Tensor]:
        """Yield the inputs of `items` in order, `size` at a time."""
        for start in range(0, len(items), size):
            yield self.batch(items[start : start + size])


def item_inputs(
    model: TripletModel, dataset: PreparedDataset, items: Items, cache: Path | None, progress: Silent = SILENT
) -> ItemInputs:
    """Return the inputs of all items of a data set, decoding and encoding what the cache does not hold yet.

    Without a folder for the cache, the data set's own `cache/` is taken.
    """
    cache = cache or dataset.folder / "cache"
    device = str(next(model.parameters()).device)
    if model.takes_features:
        return ItemInputs(_cached_features(model, dataset.paths, items, cache, progress), device)
    size = model.config.image.size
    return ItemInputs(cached_pixels(cache, dataset.paths, items.image, items.box, size, progress), device)


def _cached_features(
    model: TripletModel, paths: Sequence[Path], items: Items, cache: Path, progress: Silent
) -> npt.NDArray[np.float32]:
    image, box, size = items.image, items.box, model.config.image.size
    files = files_fingerprint([paths[number] for number in np.unique(image)])
    key = sha256_of_json([model.encoder.fingerprint(), files, image.tolist(), box.tobytes().hex(), size])

    def fill(array: npt.NDArray[Any]) -> None:
        start = 0
        for features in encoded_items(model, paths, image, box, progress):
            array[start : start + len(features)] = features.numpy()
            start += len(features)

    name = f"features-{model.config.image.name}-{key[:16]}.npy"
    return cached_array(cache / name, (len(image), model.encoder.features), np.float32, fill)


def encoded_items(
    model: TripletModel,
    paths: Sequence[Path],
    image: IntArray,
    box: npt.NDArray[np.float32],
    progress: Silent = SILENT,
) -> Iterator[Tensor]:
    """Yield the encoder's features of items, a batch at a time, decoding in threads while the encoder works."""
    device = next(model.parameters()).device
    pictures = decoded_items(paths, image, box, model.config.image.size)
    waiting: list[npt.NDArray[np.uint8]] = []
    for number, pixels in enumerate(
        progress.track(pictures, f"encoding with {model.config.image.name}", len(image)), 1
    ):
        waiting.append(pixels)
        if len(waiting) == _BATCH or number == len(image):
            with torch.no_grad():
                yield model.encode(torch.from_numpy(np.stack(waiting)).to(device)).cpu()
            waiting = []
