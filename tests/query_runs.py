"""An index to put queries to, with words that mean something, and the command `query` in this process."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_run import small_run

from mas_triplets import FactIndex
from mas_triplets.__main__ import main
from mas_triplets.retrieval.build import build_index

KNOWN = {"person": "1 0 0", "dog": "0 1 0", "ride": "0 0 1", "chase": "1 1 0", "horse": "0 1 1", "cat": "1 0 1"}
"""The words of the small data set with their vectors."""


def words_file(path: Path, **further: str) -> Path:
    """Write a file of word vectors: `KNOWN`, and `further` words."""
    path.write_text("".join(f"{word} {numbers}\n" for word, numbers in {**KNOWN, **further}.items()))
    return path


def query_index(home: Path) -> FactIndex:
    """Build home/index over the boxes of the small data set.

    Beside its vocabulary the words `pony`, `hoars` and `zebra` are known; `pony` has the vector of `horse`.
    """
    words = words_file(home / "words.txt", pony="0 1 1", hoars="1 1 1", zebra="0 2 1")
    text = {"name": "word-vectors", "path": str(words)}
    return build_index(small_run(home, model__text=text, data__region="box"), home / "index")


@dataclass(frozen=True)
class Said:
    """What the command printed."""

    stdout: str
    stderr: str


def query(home: Path, *arguments: object, code: int = 0, typed: str = "") -> Said:
    """Run `mas-triplets query index ...` in `home`, with `typed` as its standard input."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(home)
        patch.setattr(sys, "argv", ["mas-triplets", "query", "index", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == code, f"{arguments}: {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    return Said(out.getvalue(), " ".join(err.getvalue().split()))
