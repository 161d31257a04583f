"""Vectors of a vocabulary that are computed once and kept, named by all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mas_triplets.facts import SLOTS
from mas_triplets.files import replacing, sha256_of_json, to_json
from mas_triplets.model.texts.encoder import TextEncoder
from mas_triplets.progress import SILENT, Silent

_FORMAT = 1  # goes up when the same files would give other vectors, or another file


@dataclass(frozen=True)
class Vocabulary:
    """Raw vectors of a vocabulary.

    Attributes:
        vectors: (1, words, numbers), or (3, words, numbers) where slots differ.
        unknown: words whose vectors are made up.
        remarks: what was done with words that are known in part.
    """

    vectors: Tensor
    unknown: tuple[str, ...]
    remarks: tuple[str, ...]


def embedded(
    words: Sequence[str], encoder: TextEncoder, cache: Path | None = None, progress: Silent = SILENT
) -> Vocabulary:
    """Return the vectors of a vocabulary, from the folder `cache` if they are kept there, else encode and keep them.

    A kept file that is damaged, or not what it says, is made anew.

    Raises:
        UserError: the encoder's files cannot be read.
    """
    if cache is None or encoder.makes_up:  # making vectors up is quicker than reading them
        return _encode(words, encoder, progress)
    key = sha256_of_json([_FORMAT, encoder.fingerprint(), list(words)])
    path = cache / f"language-{key[:16]}.safetensors"
    kept = _read(path, key, len(words))
    if kept is None:
        kept = _encode(words, encoder, progress)
        _write(path, key, kept)
    return kept


def _encode(words: Sequence[str], encoder: TextEncoder, progress: Silent) -> Vocabulary:
    import torch

    slots = SLOTS if encoder.per_slot else SLOTS[:1]
    tables = [encoder.encode(words, slot, progress) for slot in slots]
    return Vocabulary(
        torch.stack([torch.from_numpy(table.vectors) for table in tables]),
        tuple(dict.fromkeys(word for table in tables for word in table.unknown)),
        tuple(dict.fromkeys(remark for table in tables for remark in table.remarks)),
    )


def _record(key: str, vocabulary: Vocabulary) -> dict[str, str]:
    """Return what stands beside the vectors, as one entry, since several have no order: equal contents, equal bytes."""
    told = [list(vocabulary.unknown), list(vocabulary.remarks)]
    digest = hashlib.sha256(to_json(told).encode() + vocabulary.vectors.numpy().tobytes()).hexdigest()
    return {"record": to_json({"key": key, "told": told, "sha256": digest}, indent=None)}


def _read(path: Path, key: str, words: int) -> Vocabulary | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            vectors, record = file.get_tensor("vectors"), file.metadata()
        unknown, remarks = json.loads(record["record"])["told"]
        kept = Vocabulary(vectors, tuple(unknown), tuple(remarks))
        sound = vectors.ndim == 3 and vectors.shape[1] == words and record == _record(key, kept)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
    return kept if sound else None


def _write(path: Path, key: str, vocabulary: Vocabulary) -> None:
    with replacing(path) as temporary:
        save_file({"vectors": vocabulary.vectors.contiguous()}, temporary, metadata=_record(key, vocabulary))
