"""Files of queries: answers as of each alone, in order, in blocks; lines that are wrong; standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from query_runs import query, query_index

from mas_triplets import Fact, FactIndex
from mas_triplets.retrieval import batch
from mas_triplets.retrieval.answers import hits_json
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.queries import Query, Reader
from mas_triplets.retrieval.vocabulary import Vocabulary

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    query_index(folder)
    return folder


@pytest.fixture(scope="module")
def index(home: Path) -> FactIndex:
    return FactIndex.open(home / "index")


LINES = """\
<person, ride, horse>

dogs chasing a cat --not <person>
{"fact": "<dog>", "or": ["cat"], "id": "seventh"}
{"fact": "person", "and": ["<*, *, horse>"], "not": ["dog"], "id": 7}
person riding pony
"""
QUERIES = {
    1: Query(Fact("person", "ride", "horse")),
    3: Query(Fact("dog", "chase", "cat"), none=(Fact("person"),)),
    4: Query(Fact("dog"), either=(Fact(None, None, "cat"),)),
    5: Query(Fact("person"), both=(Fact(None, None, "horse"),), none=(Fact("dog"),)),
    6: Query(Fact("person", "ride", "pony")),
}


def expected(index: FactIndex, k: int) -> list[dict[str, object]]:
    names = {4: "seventh", 5: 7}
    return [
        {"line": line, "id": names.get(line), "query": str(one), "hits": hits_json(answer(index, [one], k)[0])}
        for line, one in QUERIES.items()
    ]


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_is_answered_as_it_would_be_alone(home: Path, index: FactIndex) -> None:
    (home / "queries.txt").write_text(LINES)
    said = query(home, "--batch", "queries.txt", "-k", 3)
    assert lines_of(said.stdout) == expected(index, 3)
    assert said.stderr.startswith("'pony' is not in the vocabulary")
    assert query(home, "--batch", "-", "-k", 3, typed=LINES).stdout == said.stdout


WRONG = {
    2: ("<a, b, c, d>", "4 slots"),
    4: ('{"fact": "<dog>", "nor": []}', "has no 'nor': its keys are fact, and, or, not, id"),
    5: ('{"fact": "<dog>"', "not valid JSON"),
    6: ('{"and": ["<dog>"]}', 'needs a "fact"'),
    7: ('{"fact": "<dog>", "and": "<cat>"}', '"and" of a query should be a list'),
    8: ('{"fact": "<dog>", "id": [1]}', '"id" of a query should be'),
    9: ("<xyzzy>", "'xyzzy' is not in the vocabulary, nor known to words.txt"),
    10: ("dog --not", "a fact is missing after --not"),
    11: ("<" + "x" * 70_000 + ">", "longer than 16,384 bytes"),
    12: ("<dog\udcff>", "not UTF-8"),
    13: ("<" + "x" * 16_000 + ">", "a fact of 16,002 characters is too long"),
    14: ('{"fact": ' + "[" * 10_000, "not valid JSON"),
}


def test_wrong_lines_are_told_by_their_number_and_the_others_answered(home: Path) -> None:
    lines = [WRONG.get(line, ("<dog>", ""))[0] for line in range(1, 16)]
    (home / "wrong.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    said = query(home, "--batch", "wrong.txt", "-k", 1, code=2)
    assert [value["line"] for value in lines_of(said.stdout)] == [1, 3, 15]
    for line, (_, says) in WRONG.items():
        told = said.stderr.split(f"wrong.txt line {line}: ")[1].partition("wrong.txt line ")[0]
        assert says in told
    assert said.stderr.endswith("12 lines of wrong.txt could not be answered")


def test_a_file_with_a_byte_order_mark_and_other_line_ends(home: Path) -> None:
    (home / "other.txt").write_bytes(b"\xef\xbb\xbf<dog>\r\n\r\n<person>")
    assert [value["query"] for value in lines_of(query(home, "--batch", "other.txt").stdout)] == ["<dog>", "<person>"]
    assert query(home, "--batch", "-").stdout == ""
    assert "none.txt cannot be read: No such file" in query(home, "--batch", "none.txt", code=2).stderr


def test_lines_are_read_and_answered_a_block_at_a_time(index: FactIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the second block is read before the answers of the first are written."""
    monkeypatch.setattr(batch, "BLOCK", 4)
    events: list[str] = []

    class Lines(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            events.append("read" if line else "end")
            return line

    class Out(io.StringIO):
        def flush(self) -> None:
            events.append("written")

    out, reader = Out(), Reader(lambda: Vocabulary.of_index(index))
    assert batch.answer_batch(index, reader, Lines(b"<dog>\n" * 10), "ten", out, 1) == 0
    assert events == [*["read"] * 4, "written", *["read"] * 4, "written", "read", "read", "end", "written"]
    assert len(lines_of(out.getvalue())) == 10
