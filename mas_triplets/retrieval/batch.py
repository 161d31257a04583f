"""A file of queries: read, answered and written in blocks, so that neither queries nor answers pile up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from mas_triplets.errors import UserError
from mas_triplets.retrieval.answers import hits_json
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.free_words import embed_words_of
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.queries import Query, Reader, split_line
from mas_triplets.retrieval.written import json_lines

BLOCK = 256
"""Queries that are answered together: those of one fact with one matrix product."""
_LONGEST = 1 << 14  # bytes of a line


@dataclass(frozen=True)
class _Asked:
    """A line that is a query; `id` is what the line calls itself, or None."""

    line: int
    id: str | int | None
    query: Query


@contextmanager
def batch_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of queries; `-` is standard input.

    Raises:
        UserError: it cannot be read.
    """
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(
            f"--batch {path} cannot be read: {error.strerror}; give a file of queries, one a line"
        ) from None
    with file:
        yield file


def answer_batch(
    index: FactIndex,
    reader: Reader,
    file: BinaryIO,
    name: str,
    out: TextIO,
    k: int = 10,
    note: Callable[[str], None] = lambda _: None,
) -> int:
    """Answer the queries of a file, one a line, and return how many lines could not be answered.

    A line is a fact in brackets or plain words, with `--and`, `--or`, `--not` and further facts after it, or a JSON
    object {"fact": text, "and": [text], "or": [text], "not": [text], "id": text or number}. Empty lines are passed
    over. For each query one line of JSON is written, {"line", "id", "query", "hits"}, in the order of the file.

    Args:
        index: where to look.
        reader: what reads the queries.
        file: the lines, UTF-8.
        name: what the file is called in messages.
        out: where answers are written.
        k: hits a query.
        note: who is told of lines that are wrong, and of words outside the vocabulary, each once.
    """
    lines = enumerate(_lines(file), 1)
    wrong, told = 0, set[str]()
    while block := list(islice(lines, BLOCK)):
        asked: list[_Asked] = []
        for number, line in block:
            try:
                if line.strip():
                    asked.append(_read(number, line, reader))
            except UserError as error:
                wrong += 1
                note(f"{name} line {number}: {error}")
        kept, problems, notes = _with_known_words(index, asked)
        wrong += len(problems)
        for text in [*(f"{name} line {number}: {problem}" for number, problem in problems), *notes]:
            if text not in told:
                told.add(text)
                note(text)
        answers = answer(index, [one.query for one in kept], k)
        out.write(
            json_lines(
                [
                    {"line": one.line, "id": one.id, "query": str(one.query), "hits": hits_json(hits)}
                    for one, hits in zip(kept, answers, strict=True)
                ]
            )
        )
        out.flush()
    return wrong


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long only its beginning, which is too long too."""
    while line := file.readline(_LONGEST + 1):
        rest = line
        while len(rest) > _LONGEST and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST + 1)
        yield line


def _read(number: int, line: bytes, reader: Reader) -> _Asked:
    if len(line) > _LONGEST:
        raise UserError(f"the line is longer than {_LONGEST:,} bytes: a query is one to a few facts")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        raise UserError("the line is not UTF-8 text: write the file anew as UTF-8") from None
    if not text.startswith("{"):
        return _Asked(number, None, reader.query(split_line(text)))
    tree = _object(text)
    name = tree.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        raise UserError('"id" of a query should be a text or a whole number')
    return _Asked(number, name, reader.query(tree))


def _object(text: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f'the line is not valid JSON ({error}): write {{"fact": "<person, ride, horse>"}}') from None
    if not isinstance(tree, dict):
        raise UserError('the line is no JSON object: write {"fact": "<person, ride, horse>"}')
    return tree


def _with_known_words(
    index: FactIndex, asked: list[_Asked]
) -> tuple[list[_Asked], list[tuple[int, UserError]], list[str]]:
    """Return the queries of which all words have a vector, (line, problem) of the others, and what is to be told.

    Words outside the vocabulary are embedded together; only if one of them is wrong each query is looked at by itself.
    """
    try:
        return asked, [], embed_words_of(index, [fact for one in asked for fact in one.query.facts])
    except UserError:
        pass
    kept, problems, notes = [], [], dict[str, None]()
    for one in asked:
        try:
            notes |= dict.fromkeys(embed_words_of(index, one.query.facts))
            kept.append(one)
        except UserError as error:
            problems.append((one.line, error))
    return kept, problems, list(notes)
