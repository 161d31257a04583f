"""Pictures that are like a picture: the same comparison as with a fact, with another picture's slots in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mas_triplets.data.images import read_picture
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS
from mas_triplets.model.triplet import gallery_rows, query_rows
from mas_triplets.retrieval.index import FactIndex, Hit
from mas_triplets.retrieval.query import candidates, ranked


def similar(index: FactIndex, picture: str | Path | Image.Image, k: int = 10) -> list[Hit]:
    """Return the `k` rows that are most like a picture, best first; of equal scores the lower row comes first.

    cosine: the cosine of the whole rows, which is the mean over the slots of cos(F_k, G_k). euclidean: minus the sum
    over the slots of ||F_k - G_k||^2. The picture is embedded as a whole; one that is in the index finds itself first.

    Raises:
        UserError: the picture cannot be read, or k < 1.
    """
    if k < 1:
        raise UserError(f"-k is {k}: ask for at least one result")
    if not isinstance(picture, Image.Image):
        picture = read_picture(Path(picture))
    dim, kind = index.record.dim, index.record.score
    pixels = index.model.encoder.view.draw(picture.convert("RGB"))
    with torch.inference_mode():
        row = gallery_rows(index.model(torch.from_numpy(np.array(pixels)[None])), dim, kind)
    slots, mask = row[:, : 3 * dim].reshape(1, 3, dim), torch.ones(1, 3)
    near = candidates(index.faiss, query_rows(slots, mask, kind).numpy(), k)[0]
    rows, scores, parts = ranked(index.faiss, near, slots.numpy(), mask[0].numpy(), kind, k)
    table = index.rows.take(rows)
    return [
        Hit(
            rank=place + 1,
            score=float(scores[place]),
            image=image,
            box=None if box is None else tuple(box),
            slots=dict(zip(SLOTS, parts[place].tolist(), strict=True)),
        )
        for place, (image, box) in enumerate(zip(table["image"].to_pylist(), table["box"].to_pylist(), strict=True))
    ]
