"""Language embeddings of slots: centred over the vocabulary and of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import Fact
from mas_triplets.files import read_json, replacing, sha256_of_json, write_json
from mas_triplets.model.tensors import read_tensors
from mas_triplets.model.text_encoders import TextEncoder, Vectors


@dataclass
class LanguageTable:
    """The language embeddings L_S, L_P, L_O: one vector a text, the same in every slot.

    Raw vectors share a large common part, so that all cosines would be near one: the mean over the vocabulary is taken
    away before the length is made one. A text outside the vocabulary is encoded when it is first asked for.

    Attributes:
        words: the vocabulary, sorted.
        vectors: (words, D) unit vectors.
        centre: (D,) the mean that was taken away.
        encoder: what encodes further texts.
        unknown: texts of the vocabulary whose vectors are made up, since the encoder knows nothing of them.
    """

    words: tuple[str, ...]
    vectors: Tensor
    centre: Tensor
    encoder: TextEncoder
    unknown: tuple[str, ...] = ()
    _rows: dict[str, int] = field(init=False)
    _further: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = {word: row for row, word in enumerate(self.words)}

    @classmethod
    def build(cls, words: Sequence[str], encoder: TextEncoder) -> LanguageTable:
        """Encode a vocabulary of at least two distinct texts.

        Raises:
            UserError: the encoder knows none of them, or there are fewer than two: nothing is left of one that is
                centred on itself.
        """
        if len(words) < 2:
            raise UserError(
                f"a vocabulary of {len(words)} text cannot be embedded: a data set needs at least two words"
            )
        raw, unknown = encoder.encode(words)
        if encoder.makes_up:
            unknown = []
        elif len(unknown) == len(words):
            raise UserError(
                f"{encoder.name} knows none of the words, such as {', '.join(words[:3])}: take another text encoder"
            )
        centre = raw.mean(0)
        return cls(tuple(words), _unit(raw - centre), torch.from_numpy(centre), encoder, tuple(unknown))

    @property
    def dim(self) -> int:
        """Numbers a slot, D."""
        return self.vectors.shape[1]

    def vector(self, text: str) -> Tensor:
        """Return the (D,) unit vector of a text.

        Raises:
            UserError: the text is not in the vocabulary and the encoder knows nothing of it; the nearest are named.
        """
        if text in self._rows:
            return self.vectors[self._rows[text]]
        if text not in self._further:
            raw, unknown = self.encoder.encode([text])
            if unknown:
                close = nearest(text, self.words, 3)
                hint = f"; did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
                raise UserError(f"'{text}' is not in the vocabulary, nor known to {self.encoder.name}{hint}")
            self._further[text] = _unit(raw - self.centre.numpy())[0]
        return self._further[text]

    def embed(self, facts: Sequence[Fact]) -> tuple[Tensor, Tensor]:
        """Return the (M, 3, D) embeddings of facts, zero in absent slots, and their (M, 3) masks, 0 or 1."""
        zero = torch.zeros(self.dim)
        slots = [zero if text is None else self.vector(text) for fact in facts for text in fact.slots]
        mask = torch.tensor([fact.mask for fact in facts], dtype=torch.float32).reshape(len(facts), 3)
        vectors = torch.stack(slots) if slots else torch.zeros(0, self.dim)
        return vectors.view(len(facts), 3, self.dim), mask

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the words, the encoder's name and the vectors."""
        return sha256_of_json([self.encoder.name, list(self.words), self.vectors.numpy().tobytes().hex()])

    def save(self, folder: Path) -> None:
        """Write language.json (words) and language.safetensors (vectors) into `folder`."""
        write_json(
            folder / "language.json",
            {"encoder": self.encoder.name, "unknown": list(self.unknown), "words": list(self.words)},
        )
        with replacing(folder / "language.safetensors") as temporary:
            save_file({"vectors": self.vectors.contiguous(), "centre": self.centre}, temporary)

    @classmethod
    def load(cls, folder: Path, encoder: TextEncoder) -> LanguageTable:
        """Read what `save` wrote.

        Raises:
            UserError: a file is absent or damaged.
        """
        listed = folder / "language.json"
        tree = read_json(listed, "the vocabulary of a run")
        if not isinstance(tree, dict) or not all(_is_texts(tree.get(key)) for key in ("words", "unknown")):
            raise UserError(f"{listed} is not the vocabulary of a run ('words', 'unknown'): train the run again")
        path = folder / "language.safetensors"
        tensors = read_tensors(path, "language embeddings")
        if not {"vectors", "centre"} <= tensors.keys() or len(tensors["vectors"]) != len(tree["words"]):
            raise UserError(f"{path} does not hold a vector for each word of {listed}: train the run again")
        return cls(tuple(tree["words"]), tensors["vectors"], tensors["centre"], encoder, tuple(tree["unknown"]))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _unit(vectors: Vectors) -> Tensor:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return torch.from_numpy((vectors / np.maximum(length, 1e-12)).astype(np.float32))
