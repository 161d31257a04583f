"""Language embeddings of slots: centred over the vocabulary and of unit length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import read_json, replacing, sha256_of_json, write_json
from mas_triplets.model.tensors import read_tensors
from mas_triplets.model.texts import TextEncoder, Vectors
from mas_triplets.model.texts.kept import embedded
from mas_triplets.progress import SILENT, Silent

_TOLD = 5  # examples named in a note
_REMEMBERED = 10_000  # texts outside the vocabulary whose vectors are kept: a server is asked for ever more
_ABSENT = -1
_WITNESSES = 8  # words of the vocabulary that are embedded again beside further texts
_SAME = 1e-3  # distance of two unit vectors that differ by no more than rounding, on another machine say


class UnknownTextError(UserError):
    """A text that is not in the vocabulary and of which the encoder knows nothing."""

    def __init__(self, text: str, message: str) -> None:
        super().__init__(message)
        self.text = text


@dataclass
class LanguageTable:
    """The language embeddings L_S, L_P, L_O: one vector a text, the same in every slot unless templates differ.

    Raw vectors share a large common part, so that all cosines would be near one: the mean over the vocabulary is taken
    away, for each table by itself, before the length is made one. A text outside the vocabulary is encoded when it is
    first asked for; some words of the vocabulary are encoded beside it, and must come out as they did in training.

    Attributes:
        words: the vocabulary, sorted.
        vectors: (1, words, D) unit vectors for all slots, or (3, words, D), a table for each.
        centre: (1, D) or (3, D), the means that were taken away; zero where they were not.
        encoder: what encodes further texts.
        name: the encoder's name.
        unknown: texts of the vocabulary whose vectors are made up, since the encoder knows nothing of them.
        remarks: what was done with texts that are known in part.
    """

    words: tuple[str, ...]
    vectors: Tensor
    centre: Tensor
    encoder: TextEncoder
    name: str
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    _rows: dict[str, int] = field(init=False)
    _further: dict[tuple[int, str], Tensor] = field(init=False, default_factory=dict)
    _remarks: dict[str, str] = field(init=False, default_factory=dict)
    _same: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._rows = {word: row for row, word in enumerate(self.words)}

    @classmethod
    def build(
        cls,
        words: Sequence[str],
        encoder: TextEncoder,
        *,
        centre: bool = True,
        cache: Path | None = None,
        progress: Silent = SILENT,
    ) -> LanguageTable:
        """Encode a vocabulary of distinct texts.

        Args:
            words: the texts.
            encoder: what encodes them.
            centre: take the mean over the vocabulary away.
            cache: folder in which raw vectors are kept, and looked for; None encodes anew.
            progress: who is told how far long work is.

        Raises:
            UserError: the encoder's files cannot be read, it knows none of the texts, or there are too few: nothing is
                left of one that is centred on itself.
        """
        if len(words) < (2 if centre else 1):
            raise UserError(
                f"a vocabulary of {len(words)} text cannot be embedded: a data set needs at least two words"
            )
        found = embedded(words, encoder, cache, progress)
        unknown = () if encoder.makes_up else found.unknown
        if len(unknown) == len(words):
            raise UserError(
                f"{encoder.name} knows none of the words, such as {', '.join(words[:3])}: take another text encoder"
            )
        raw = found.vectors.numpy()
        mean = np.stack([table.mean(0) if centre else np.zeros_like(table[0]) for table in raw])
        unit = _unit(raw - mean[:, None])
        return cls(tuple(words), unit, torch.from_numpy(mean), encoder, encoder.name, unknown, found.remarks)

    @property
    def dim(self) -> int:
        """Numbers a slot, D."""
        return self.vectors.shape[-1]

    def __contains__(self, text: str) -> bool:
        """Whether a text is in the vocabulary."""
        return text in self._rows

    def told_of(self, texts: Iterable[str]) -> list[str]:
        """Return what was done with texts outside the vocabulary, already encoded, that are known in part."""
        return list(dict.fromkeys(self._remarks[text] for text in texts if text in self._remarks))

    def note(self) -> str | None:
        """Return which texts are unknown or known in part, and what was done; None if all are known."""
        said = []
        if self.unknown:
            count = len(self.unknown)
            said.append(
                f"{count} of {len(self.words)} words {'is' if count == 1 else 'are'} unknown to {self.name} "
                f"({_first(self.unknown, ', ')}): {'it gets a vector' if count == 1 else 'they get vectors'} made up "
                "at random from the text alone"
            )
        if self.remarks:
            said.append(f"{'' if said else f'{self.name}: '}{_first(self.remarks, '; ')}")
        return "; ".join(said) or None

    def vector(self, text: str, slot: str | None = None) -> Tensor:
        """Return the (D,) unit vector of a text in a slot, which need not be said where slots have one table.

        Raises:
            UserError: the text is not in the vocabulary and the encoder knows nothing of it; the nearest are named.
        """
        if slot is None and len(self.vectors) > 1:
            raise ValueError(f"'{text}' has another vector in each slot: say which")
        self._forget()
        table = self._table(SLOTS.index(slot or SLOTS[0]))
        if text in self._rows:
            return self.vectors[table, self._rows[text]]
        self._encode_further(table, [text])
        return self._further[table, text]

    def embed(self, facts: Sequence[Fact]) -> tuple[Tensor, Tensor]:
        """Return the (M, 3, D) embeddings of facts, zero in absent slots, and their (M, 3) masks, 0 or 1.

        Raises:
            UserError: a text is not in the vocabulary and the encoder knows nothing of it.
        """
        self._forget()
        mask = torch.tensor([fact.mask for fact in facts], dtype=torch.float32).reshape(len(facts), 3)
        asked = list(zip(*(fact.slots for fact in facts), strict=True)) or [(), (), ()]
        new = [sorted({text for text in texts if text is not None and text not in self._rows}) for texts in asked]
        for table in range(len(self.vectors)):
            self._encode_further(table, {text for slot in range(3) if self._table(slot) == table for text in new[slot]})
        columns = []
        for slot, (texts, further) in enumerate(zip(asked, new, strict=True)):
            table, rows = self._table(slot), self._rows
            known = self.vectors[table]
            if further:
                rows = rows | {text: len(rows) + place for place, text in enumerate(further)}
                known = torch.cat([known, torch.stack([self._further[table, text] for text in further])])
            places = torch.tensor([_ABSENT if text is None else rows[text] for text in texts], dtype=torch.int64)
            columns.append(known[places].masked_fill_((places == _ABSENT).unsqueeze(1), 0.0))
        return torch.stack(columns, dim=1), mask

    def _table(self, slot: int) -> int:
        return slot if len(self.vectors) > 1 else 0

    def _forget(self) -> None:
        """Forget texts outside the vocabulary where there have been many; those asked for again are encoded again."""
        if len(self._further) > _REMEMBERED:
            self._further = {}

    def _encode_further(self, table: int, wanted: Iterable[str]) -> None:
        """Encode those texts outside the vocabulary that have not been asked for before."""
        texts = sorted(text for text in wanted if (table, text) not in self._further)
        if not texts:
            return
        witnesses = [] if table in self._same else self._witnesses()
        found = self.encoder.encode([*texts, *witnesses], SLOTS[table])
        unknown = [text for text in found.unknown if text not in witnesses]
        if unknown:
            close = nearest(unknown[0], self.words, 3)
            hint = f"; did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
            raise UnknownTextError(
                unknown[0], f"'{unknown[0]}' is not in the vocabulary, nor known to {self.name}{hint}"
            )
        if found.vectors.shape[1] != self.dim:
            raise UserError(
                f"{self.name} has {found.vectors.shape[1]} numbers a text now, it had {self.dim} when the vocabulary "
                "was embedded: put the files back that were there then"
            )
        units = _unit(found.vectors - self.centre[table].numpy())
        self._check_same(table, witnesses, units[len(texts) :])
        self._further |= {(table, text): unit for text, unit in zip(texts, units, strict=False)}
        self._remarks |= {text: remark for text in texts for remark in found.remarks if f"in '{text}'" in remark}

    def _witnesses(self) -> list[str]:
        """Return some words of the vocabulary that the encoder knew, from all over it."""
        known = [word for word in self.words if word not in set(self.unknown)]
        return known[:: max(1, len(known) // _WITNESSES)][:_WITNESSES]

    def _check_same(self, table: int, words: Sequence[str], units: Tensor) -> None:
        """Check that words of the vocabulary, encoded again, have the unit vectors (words, D) they had in training.

        Raises:
            UserError: one has another, so that further texts would not lie in the same space.
        """
        for word, unit in zip(words, units, strict=True):
            away = float((unit - self.vectors[table, self._rows[word]]).norm())
            if away > _SAME:
                raise UserError(
                    f"{self.name} gives another vector for '{word}' than when the vocabulary was embedded (they are "
                    f"{away:.2g} apart): put the files back that were there then"
                )
        self._same.add(table)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the words, the encoder's name and the vectors."""
        return sha256_of_json([self.name, list(self.words), self.vectors.numpy().tobytes().hex()])

    def save(self, folder: Path) -> None:
        """Write language.json (words, and what was told of them) and language.safetensors (vectors) into `folder`.

        Of a single table the tensors are (words, D) and (D,).
        """
        write_json(
            folder / "language.json",
            {
                "encoder": self.name,
                "unknown": list(self.unknown),
                "remarks": list(self.remarks),
                "words": list(self.words),
            },
        )
        one = len(self.vectors) == 1
        vectors, centre = (self.vectors[0], self.centre[0]) if one else (self.vectors, self.centre)
        with replacing(folder / "language.safetensors") as temporary:
            save_file({"vectors": vectors.contiguous(), "centre": centre.contiguous()}, temporary)

    @classmethod
    def load(cls, folder: Path, encoder: TextEncoder) -> LanguageTable:
        """Read what `save` wrote; the encoder's files are not needed until a further text is asked for.

        Raises:
            UserError: a file is absent or damaged.
        """
        listed = folder / "language.json"
        tree = read_json(listed, "the vocabulary of a run")
        if isinstance(tree, dict):
            tree = {"encoder": "", "remarks": [], **tree}  # runs of earlier versions have not these
        if not isinstance(tree, dict) or not all(_is_texts(tree.get(key)) for key in ("words", "unknown", "remarks")):
            raise UserError(f"{listed} is not the vocabulary of a run ('words', 'unknown'): train the run again")
        path = folder / "language.safetensors"
        tensors = read_tensors(path, "language embeddings")
        if not {"vectors", "centre"} <= tensors.keys():
            raise UserError(f"{path} does not hold 'vectors' and 'centre': train the run again")
        vectors, centre = tensors["vectors"], tensors["centre"]
        if vectors.ndim == 2:
            vectors, centre = vectors.unsqueeze(0), centre.unsqueeze(0)
        if vectors.shape[:-1] not in ((1, len(tree["words"])), (3, len(tree["words"]))):
            raise UserError(f"{path} does not hold a vector for each word of {listed}: train the run again")
        if centre.shape != (len(vectors), vectors.shape[-1]):
            raise UserError(f"{path}: 'centre' does not fit 'vectors': train the run again")
        told = tuple(tree["unknown"]), tuple(tree["remarks"])
        return cls(tuple(tree["words"]), vectors, centre, encoder, str(tree["encoder"]), *told)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _first(texts: Sequence[str], between: str) -> str:
    more = len(texts) - _TOLD
    return between.join(texts[:_TOLD]) + (f"{between}and {more} more" if more > 0 else "")


def _unit(vectors: Vectors) -> Tensor:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return torch.from_numpy((vectors / np.maximum(length, 1e-12)).astype(np.float32))
