"""Questions that begin at a row of the index: which rows are like it, which facts hold in it.

What a hit is stands in `retrieval.index`; here is the number of its row, by which a picture is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from mas_triplets.data.format import ORDERS
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.triplet import query_rows
from mas_triplets.retrieval.index import FactHit, FactIndex, Hit
from mas_triplets.retrieval.query import candidates, ranked
from mas_triplets.retrieval.scores import Array, best_first, combined, slot_parts

Vectors = npt.NDArray[np.float32]
Numbered = list[tuple[int, Hit]]
"""Hits with the numbers of their rows."""


class Rows:
    """An index whose rows are asked about by number.

    Attributes:
        index: the index.
    """

    def __init__(self, index: FactIndex) -> None:
        self.index = index
        self._of: dict[object, list[int]] = defaultdict(list)
        columns = (index.rows[name].to_pylist() for name in ("image", "box"))
        for row, (image, box) in enumerate(zip(*columns, strict=True)):
            self._of[image, None if box is None else tuple(box)].append(row)

    def search(self, fact: Fact, k: int) -> Numbered:
        """Return what `FactIndex.search` returns, with rows. Equal rows are told apart by their order."""
        hits = self.index.search(fact, k)
        used: dict[object, int] = defaultdict(int)
        found = []
        for hit in hits:
            key = (hit.image, hit.box)
            found.append((self._of[key][used[key]], hit))
            used[key] += 1
        return found

    def similar(self, row: int, k: int) -> Numbered:
        """Return the `k` rows most like `row`, which is left out: the mean cosine of the slots, or minus the distance.

        Raises:
            UserError: there is no such row.
        """
        self.check(row)
        vectors = self._slots(self.index.faiss.reconstruct(row)[None])
        others = [(other, hit) for other, hit in self._nearest(vectors, k + 1) if other != row][:k]
        return [(other, replace(hit, rank=rank)) for rank, (other, hit) in enumerate(others, 1)]

    def similar_to(self, picture: Image.Image, k: int) -> Numbered:
        """Return the `k` rows most like a picture that need not be in the index."""
        return self._nearest(self._slots(self.index._embedded(picture).astype(np.float32)), k)

    def facts(self, row: int, k: int) -> dict[int, list[FactHit]]:
        """Return which facts hold in a row, as `FactIndex.facts_of` does, without its picture.

        Raises:
            UserError: there is no such row, or the index knows no facts.
        """
        self.check(row)
        vectors, mask, facts = self._language
        kind = self.index.record.score
        parts = slot_parts(self.index.faiss.reconstruct(row)[None], vectors, kind)
        scores = combined(parts, mask, kind)
        answer = {}
        for order in ORDERS:
            ids = np.flatnonzero(mask.sum(-1) == order)
            best = ids[best_first(scores[ids], ids, k)]
            answer[order] = [
                FactHit(rank, float(scores[i]), facts[i], _parts(facts[i].mask, parts[i]))
                for rank, i in enumerate(best.tolist(), 1)
            ]
        return answer

    def check(self, row: int) -> None:
        """Check that there is such a row.

        Raises:
            UserError: there is none.
        """
        if not 0 <= row < len(self.index):
            raise UserError(f"there is no row {row}: this index has the rows 0 to {len(self.index) - 1:,}")

    @cached_property
    def _language(self) -> tuple[Vectors, Vectors, Sequence[Fact]]:
        facts = self.index.facts
        vectors, mask = self.index.run.language.embed(facts)
        return vectors.numpy(), mask.numpy(), facts

    def _slots(self, row: Vectors) -> Vectors:
        """Return the (1, 3, D) slots of a (1, 3D) or (1, 3D + 3) row."""
        dim = self.index.record.dim
        return row[:, : 3 * dim].reshape(1, 3, dim)

    def _nearest(self, vectors: Vectors, k: int) -> Numbered:
        import torch

        kind, everything = self.index.record.score, np.ones(3, dtype=np.float32)
        query = query_rows(torch.from_numpy(vectors.copy()), torch.from_numpy(everything[None]), kind).numpy()
        rows = candidates(self.index.faiss, query, k)[0]
        best, scores, parts = ranked(self.index.faiss, rows, vectors, everything, kind, k)
        table = self.index.rows.take(best)
        columns = (best.tolist(), table["image"].to_pylist(), table["box"].to_pylist(), scores.tolist(), parts)
        return [
            (row, Hit(rank, score, image, None if box is None else tuple(box), _parts((True,) * 3, part)))
            for rank, (row, image, box, score, part) in enumerate(zip(*columns, strict=True), 1)
        ]


def _parts(present: Sequence[bool], part: Array) -> dict[str, float]:
    return {slot: value for slot, has, value in zip(SLOTS, present, part.tolist(), strict=True) if has}
