"""fastText's binary models (.bin): a dictionary, and a matrix with a row for each word and each bucket of n-grams.

A word's vector is the mean of its own row and those of the character n-grams of "<word>"; a word outside the
dictionary has its n-grams alone (Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL 2017,
section 3.2). The n-grams of all words share `bucket` rows, by their hash.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mas_triplets.errors import UserError
from mas_triplets.model.texts.encoder import Vectors
from mas_triplets.model.texts.mapped import Mapped, mapped
from mas_triplets.model.texts.word_records import Found, Wanted, checked

MAGIC = struct.pack("<i", 793712314)
_SUPERVISED = 3
_LONGEST_WORD = 1 << 16
_END_OF_SENTENCE = "</s>"
_WORD = 0  # the kind of an entry; labels are 1


@dataclass(frozen=True)
class _Shape:
    """What the head of a model says of its subwords and its matrix."""

    dim: int
    bucket: int
    minn: int
    maxn: int
    words: int
    entries: int


def read_fasttext(path: Path, wanted: Wanted) -> Found:
    """Read the vectors of some words by memory map; what is not in the dictionary is composed of n-grams.

    Raises:
        UserError: the model is quantised, of another version, damaged, or cut short.
    """
    known: dict[str, Vectors] = {}
    composed: dict[str, Vectors] = {}
    with mapped(path) as file:
        shape = _head(file)
        rows = _dictionary(file, shape, wanted)
        start = _matrix(file, shape)

        def mean(word: str, numbers: Sequence[int]) -> Vectors:
            total = np.zeros(shape.dim, np.float32)
            for row in numbers:
                total += file.floats(start + row * 4 * shape.dim, shape.dim)
            return checked(total / np.float32(len(numbers)), f"{path}: '{word}'")

        for word in sorted(wanted.words | wanted.composed):
            ngrams = [shape.words + bucket for bucket in ngram_buckets(word, shape.minn, shape.maxn, shape.bucket)]
            if word in rows:
                known[word] = mean(word, [rows[word], *ngrams])
            elif word in wanted.composed and ngrams:
                composed[word] = mean(word, ngrams)
    return Found(shape.dim, known, composed)


def ngram_hash(ngram: bytes) -> int:
    """Return fastText's hash of an n-gram: 32-bit FNV-1a, with bytes above 127 taken as negative numbers."""
    value = 2166136261
    for byte in ngram:
        # A char is signed there, so that é and the like flip the upper 24 bits too.
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = value * 16777619 & 0xFFFFFFFF
    return value


def ngram_buckets(word: str, minn: int, maxn: int, bucket: int) -> list[int]:
    """Return the buckets of a word's character n-grams, of `minn` to `maxn` characters, in fastText's order.

    "<" and ">" mark where the word begins and ends; alone, they are no n-grams. The mark of a sentence's end has none.

    Example: the n-grams of "is" with minn=2 and maxn=3 are <i, <is, is, is>, s>.
    """
    if word == _END_OF_SENTENCE or not bucket:
        return []
    marked = f"<{word}>"
    return [
        ngram_hash(marked[start : start + length].encode()) % bucket
        for start in range(len(marked))
        for length in range(max(1, minn), min(maxn, len(marked) - start) + 1)
        if not (length == 1 and start in (0, len(marked) - 1))
    ]


def _head(file: Mapped) -> _Shape:
    where = "its head"
    _, version = file.take("<2i", where)
    if version not in (11, 12):
        raise UserError(f"{file.path} is a fastText model of version {version}; versions 11 and 12 are read")
    dim, _, _, _, _, _, _, model, bucket, minn, maxn, _, _ = file.take("<12id", where)
    if version == 11 and model == _SUPERVISED:
        maxn = 0  # this version wrote a number there that it did not use
    entries, words, labels, _, pruned = file.take("<3i2q", where)
    sound = 0 < dim <= 100_000 and bucket >= 0 and minn >= 0 and 0 <= maxn <= 1000 and words > 0
    if not sound or labels < 0 or entries != words + labels:
        raise UserError(
            f"{file.path}: its head promises {words} words of {dim} numbers in {entries} entries, {bucket} buckets of "
            f"{minn} to {maxn} characters: the file is damaged, fetch it anew"
        )
    if pruned >= 0:
        raise _quantised(file.path)
    return _Shape(dim, bucket, minn, maxn, words, entries)


def _dictionary(file: Mapped, shape: _Shape, wanted: Wanted) -> dict[str, int]:
    """Return the rows of the words asked for."""
    keys = {word.encode(): word for word in wanted.words | wanted.composed}
    rows: dict[str, int] = {}
    for entry in range(shape.entries):
        where = f"entry {entry + 1} of its dictionary of {shape.entries}"
        word = file.until(b"\0", _LONGEST_WORD, where)
        _, kind = file.take("<qb", where)
        if kind not in (0, 1):
            raise UserError(f"{file.path} is damaged in {where}: fetch it anew")
        if kind == _WORD and word in keys and entry < shape.words:
            rows.setdefault(keys[word], entry)
        if entry % (1 << 13) == 0:
            wanted.seen(file.position)
    return rows


def _matrix(file: Mapped, shape: _Shape) -> int:
    """Return where the matrix's numbers begin."""
    (quantised,) = file.take("<B", "its matrix")
    if quantised:
        raise _quantised(file.path)
    rows, columns = file.take("<2q", "its matrix")
    if columns != shape.dim or rows < shape.words + (shape.bucket if shape.maxn else 0):
        raise UserError(
            f"{file.path}: its matrix is {rows} x {columns}, its head promises {shape.words} words and {shape.bucket} "
            f"buckets of {shape.dim} numbers: the file is damaged, fetch it anew"
        )
    if file.size - file.position < rows * columns * 4:
        raise file.cut_short(f"its matrix of {rows} x {columns} numbers")
    return file.position


def _quantised(path: Path) -> UserError:
    return UserError(
        f"{path} is a quantised fastText model (.ftz), which is not read here: take the .bin it was made from, or .vec"
    )
