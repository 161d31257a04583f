"""Word vectors as text: GloVe's, and word2vec's and fastText's (.vec) with a first line of two numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mas_triplets.errors import UserError
from mas_triplets.model.texts.encoder import Vectors
from mas_triplets.model.texts.word_records import LONGEST_LINE, Found, Wanted, checked

_BOM = b"\xef\xbb\xbf"
_TOLD_EVERY = 1 << 13  # lines


def read_vector_text(path: Path, wanted: Wanted, header: tuple[int, int] | None) -> Found:
    """Read the vectors of some words, line by line: `word number number ...`, separated by spaces or tabs.

    Every line is checked for the number of its numbers, but only those of words asked for are read. A word may hold
    spaces, as some of GloVe 840B do: the last numbers of a line are its vector. Such words are passed over, and so are
    those that are not UTF-8 (word2vec cuts long words within a character), as nobody can ask for them. Where a word
    stands twice, the first counts.

    Args:
        path: the file.
        wanted: the words.
        header: number of words and of numbers, where the first line says so.

    Raises:
        UserError: a line is damaged, or there are more or fewer than the header says.
    """
    keys = {word.encode(): word for word in wanted.words}
    known: dict[str, Vectors] = {}
    count, dim = header or (None, 0)
    records, separator = 0, b""
    with path.open("rb") as handle:
        for number, line in _lines(path, handle):
            if number == 1 and header is not None:
                continue
            if not line:
                continue
            records += 1
            if not separator:
                separator = b"\t" if b"\t" in line and b" " not in line else b" "
                dim = dim or _numbers_of_first(path, line)
            if records % _TOLD_EVERY == 0:
                wanted.seen(handle.tell())
            separators = line.count(separator)
            word = line[: line.find(separator)] if separators else line
            if separators == dim and word not in keys:
                continue
            fields = line.split()
            if len(fields) != dim + 1 and not _word_with_spaces(fields, dim):
                raise UserError(
                    f"{path} line {number}: '{_shown(fields[0])}' has {len(fields) - 1} numbers, others have {dim}: "
                    "the file is damaged or cut short, fetch it anew"
                )
            if len(fields) == dim + 1 and fields[0] in keys and keys[fields[0]] not in known:
                where = f"{path} line {number}: '{keys[fields[0]]}'"
                known[keys[fields[0]]] = checked(_numbers(fields[1:], where), where)
    if count is not None and records != count:
        raise UserError(
            f"{path} line 1 promises {count} words, {records} follow: the file is cut short or not what it says, "
            "fetch it anew"
        )
    return Found(dim, known)


def _lines(path: Path, handle: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line, without white space at its end."""
    number = 0
    while line := handle.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise UserError(
                f"{path} line {number} is longer than a megabyte: this is not a file of word vectors (a word and its "
                "numbers on each line)"
            )
        yield number, (line.removeprefix(_BOM) if number == 1 else line).rstrip()


def _numbers_of_first(path: Path, line: bytes) -> int:
    """Return how many numbers the first line ends with; its first word may look like a number itself."""
    fields = line.split()
    numbers = 0
    while numbers < len(fields) - 1 and _is_number(fields[-1 - numbers]):
        numbers += 1
    if not numbers:
        raise UserError(
            f"{path} is not a file of word vectors (a word and its numbers on each line): line 1 is '{_shown(line)}'"
        )
    return numbers


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _word_with_spaces(fields: Sequence[bytes], dim: int) -> bool:
    """Whether there are more fields than a word and its numbers, since the word itself is of several."""
    return len(fields) > dim + 1 and not all(_is_number(field) for field in fields[1:-dim])


def _numbers(fields: Sequence[bytes], where: str) -> npt.NDArray[np.float64]:
    for field in fields:
        if not _is_number(field) or b"_" in field:
            raise UserError(f"{where} has '{_shown(field)}' for a number: the file is damaged, fetch it anew")
    return np.array([float(field) for field in fields])


def _shown(text: bytes) -> str:
    """Return the beginning of what stands there, for a message."""
    return text[:40].decode(errors="replace") + ("..." if len(text) > 40 else "")
