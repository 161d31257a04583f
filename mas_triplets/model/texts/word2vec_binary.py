"""Word vectors as word2vec's tool writes them in binary: a line of two numbers, then word, space, float32 numbers."""

from __future__ import annotations

from pathlib import Path

from mas_triplets.errors import UserError
from mas_triplets.model.texts.encoder import Vectors
from mas_triplets.model.texts.mapped import mapped
from mas_triplets.model.texts.word_records import Found, Wanted, checked

_LONGEST_WORD = 1 << 12
_TOLD_EVERY = 1 << 13


def read_word2vec(path: Path, wanted: Wanted, start: int, count: int, dim: int) -> Found:
    """Read the vectors of some words by memory map; each record may end with a line feed or not.

    Words that are not UTF-8 are passed over: word2vec cuts long ones within a character.

    Args:
        path: the file.
        wanted: the words.
        start: where the first record begins.
        count: number of words.
        dim: numbers of a vector.

    Raises:
        UserError: the file ends too early, or holds more than it says.
    """
    keys = {word.encode(): word for word in wanted.words}
    known: dict[str, Vectors] = {}
    with mapped(path) as file:
        file.position = start
        if file.size - start < count * (4 * dim + 2):
            raise UserError(
                f"{path} is too short for the {count} words of {dim} numbers that line 1 promises: it is cut short, "
                "fetch it anew"
            )
        for record in range(1, count + 1):
            where = f"record {record} of {count}"
            word = file.until(b" ", _LONGEST_WORD, where).lstrip(b"\n")
            begin, file.position = file.position, file.position + 4 * dim
            if file.position > file.size:
                raise file.cut_short(where)
            if word in keys and keys[word] not in known:
                known[keys[word]] = checked(file.floats(begin, dim), f"{path} {where}: '{keys[word]}'")
            if record % _TOLD_EVERY == 0:
                wanted.seen(file.position)
        if file.size - file.position > 1:
            raise UserError(
                f"{path} goes on for {file.size - file.position} bytes after the {count} words that line 1 promises: "
                "it is damaged or not what it says, fetch it anew"
            )
    return Found(dim, known)
