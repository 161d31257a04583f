"""Files of word vectors: which format one is in, by its content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mas_triplets.errors import UserError
from mas_triplets.files import sha256_of_json
from mas_triplets.model.texts.fasttext_binary import MAGIC, read_fasttext
from mas_triplets.model.texts.vector_text import read_vector_text
from mas_triplets.model.texts.word2vec_binary import read_word2vec
from mas_triplets.model.texts.word_records import Found, Wanted

_MOST_NUMBERS = 100_000
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_HEADER = re.compile(rb"([0-9]{1,12})[ \t]+([0-9]{1,6})[ \t]*\r?\n")


def read_word_file(path: Path, wanted: Wanted) -> Found:
    """Read the vectors of some words from a file; nothing else of it is kept.

    GloVe text, word2vec text or fastText .vec (a first line with the number of words and of numbers), word2vec binary
    and fastText .bin are told apart by their content.

    Raises:
        UserError: the file cannot be read, is damaged, or is something else; file and record are named.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(4096)
    except OSError as error:
        raise UserError(f"{path} cannot be read as word vectors: {error.strerror}") from None
    _check_kind(path, head)
    if head.startswith(MAGIC):
        return read_fasttext(path, wanted)
    header = _HEADER.match(head)
    if header is None:
        return read_vector_text(path, wanted, None)
    count, dim = int(header[1]), int(header[2])
    if not count or not 0 < dim <= _MOST_NUMBERS:
        raise UserError(f"{path} line 1 promises {count} words of {dim} numbers, which cannot be: fetch the file anew")
    if _is_text(head[header.end() :]):
        return read_vector_text(path, wanted, (count, dim))
    return read_word2vec(path, wanted, header.end(), count, dim)


def _check_kind(path: Path, head: bytes) -> None:
    """Refuse what is surely no file of word vectors, with what to do about it."""
    if not head.strip():
        raise UserError(f"{path} is empty: it should hold word vectors")
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            raise UserError(f"{path} is packed ({kind}): unpack it and give the file of word vectors in it")
    if head[0] == 0x80 and 2 <= head[1] <= 5:
        raise UserError(
            f"{path} is a pickle, such as gensim saves: load it there and write it with save_word2vec_format"
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16 text: word vectors are read as UTF-8, convert it")


def _is_text(piece: bytes) -> bool:
    """Whether what follows a header is text: floats as bytes hold control characters or break UTF-8 very soon."""
    if any((byte < 32 and byte not in b"\t\n\r") or byte == 127 for byte in piece):
        return False
    try:
        piece.decode()
    except UnicodeDecodeError as error:
        return error.start > len(piece) - 4  # a character cut by the end of the piece
    return True


def file_fingerprint(path: Path) -> str:
    """SHA-256 over name, size, time, and the first and last MiB of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            status = path.stat()
            first = handle.read(1 << 20)
            handle.seek(max(0, status.st_size - (1 << 20)))
            content = hashlib.sha256(first + handle.read(1 << 20)).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read as word vectors: {error.strerror}") from None
    return sha256_of_json([path.name, status.st_size, status.st_mtime_ns, content])
