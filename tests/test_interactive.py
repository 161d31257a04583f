"""The prompt: what lines do, how words are completed, and what lasts of what was typed."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from query_runs import query, query_index

from mas_triplets import Fact, FactIndex
from mas_triplets.retrieval.prompt import Prompt, completions
from mas_triplets.retrieval.queries import Reader
from mas_triplets.retrieval.typed_lines import history_file, typed_lines
from mas_triplets.retrieval.vocabulary import Vocabulary

torch.set_num_threads(1)
VOCABULARY = Vocabulary.of_facts(
    [
        Fact("person", "ride", "horse"),
        Fact("person", "next to", "hot dog"),
        Fact("dog", "next on", "house"),
        Fact("path"),
    ]
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    query_index(folder)
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def prompt(home: Path, said: list[str]) -> Prompt:
    index = FactIndex.open(home / "index")
    return Prompt(index, Reader(lambda: Vocabulary.of_index(index)), said.append)


def test_a_session_from_the_command_line(home: Path) -> None:
    typed = ":k 2\nperson riding horse\n<dog> --not person\n\n:sheet s.png\n:html s.html\nhoarse wind\n:quit\n<cat>\n"
    done = query(home, "--interactive", typed=typed)
    printed = done.stdout
    assert "pictures for <person, ride, horse>" in printed
    assert "pictures for <dog> and not <person>" in printed
    assert printed.count("\n2 of ") == 2
    assert "error: 'hoarse' is not in the vocabulary" in printed
    assert "<cat>" not in printed  # after :quit
    assert (home / "s.png").is_file()
    assert "&lt;dog&gt; and not &lt;person&gt;" in (home / "s.html").read_text()
    assert done.stderr == ""


def test_lines_do_what_they_say(
    prompt: Prompt, said: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prompt.enter("person riding pony")
    assert said[0] == "read as <person, ride, pony>"
    assert said[1].startswith("note: 'pony' is not in the vocabulary")
    assert said[2].startswith(f"10 of {len(prompt.index)} in ")
    assert prompt.hits == prompt.index.search("<person, ride, pony>")
    assert prompt.enter(":k 3")
    assert prompt.enter(f":similar {home / 'pictures' / '003.png'}")
    assert len(prompt.hits) == 3
    assert prompt.enter(f":image {home / 'pictures' / '003.png'}")
    assert "facts of order 3" in capsys.readouterr().out
    assert prompt.enter("?")
    assert ":quit" in said[-1]
    assert prompt.enter("   ")
    assert not prompt.enter(":quit")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (":k", ":k needs a number"),
        (":k many", "a whole number from 1 on"),
        (":k 0", "a whole number from 1 on"),
        (":k ²", "a whole number from 1 on"),
        (":sheet", ":sheet needs a file"),
        (":sheet x.png", "nothing has been found yet"),
        (":html x.html", "nothing has been found yet"),
        (":image none.png", "none.png does not exist"),
        (":dance now", "there is no ':dance': the commands are :k"),
        ("<a, b, c, d>", "4 slots"),
        ("<xyzzy>", "'xyzzy' is not in the vocabulary"),
        ("--not <dog>", "a fact is missing before --not"),
    ],
)
def test_what_is_wrong_is_said_and_the_prompt_goes_on(prompt: Prompt, said: list[str], line: str, says: str) -> None:
    assert prompt.enter(line)
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert says in said[0]
    assert prompt.hits == []


def test_a_place_that_cannot_be_written_is_said(prompt: Prompt, said: list[str], home: Path) -> None:
    assert prompt.enter("<dog>")
    assert prompt.enter(f":sheet {home / 'words.txt' / 'x.png'}")
    assert said[-1].startswith("error: ")
    assert "words.txt" in said[-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("<p", ["path", "person"]),
        ("<person, ", ["next on", "next to", "ride"]),
        ("<person, n", ["next on", "next to"]),
        ("<person, next t", ["to"]),
        ("<person, next ", ["on", "to"]),
        ("<person, ride,h", ["horse", "hot dog", "house"]),
        ("<person, ride, hot", ["hot dog"]),
        ("<person, ride, horse>", []),
        ("<person, ride, horse, x", []),
        ("<dog> --not <p", ["path", "person"]),
        ("<dog> --a", ["--and"]),
        ("person r", ["ride"]),
        ("person ho", ["horse", "hot dog", "house"]),
        (":s", [":sheet", ":similar"]),
        ("", []),
        ("person ", []),
    ],
)
def test_completions(line: str, expected: list[str]) -> None:
    assert completions(line, VOCABULARY) == expected


def test_lines_from_no_terminal_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert [line.strip() for line in typed_lines(lambda _: [], tmp_path / "history")] == ["one", "two"]
    assert not (tmp_path / "history").exists()


def test_typed_lines_last_and_a_given_up_line_does_not_end_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readline = pytest.importorskip("readline")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed: Iterator[str | BaseException] = iter(["<dog>", KeyboardInterrupt(), "cat", EOFError()])

    def entered(_: str) -> str:
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        readline.add_history(line)
        return line

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", entered)
    readline.clear_history()
    assert list(typed_lines(lambda line: [line + "x"], tmp_path / "state" / "history")) == ["<dog>", "cat"]
    assert [line for line in (tmp_path / "state" / "history").read_text().splitlines() if line[0] != "_"] == [
        "<dog>",
        "cat",
    ]
    monkeypatch.setattr(readline, "get_line_buffer", lambda: "<do")
    monkeypatch.setattr(readline, "get_endidx", lambda: 2)
    complete = readline.get_completer()
    assert [complete("do", state) for state in (0, 1)] == ["<dx", None]


def test_history_is_where_the_system_keeps_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_file() == Path("/state/mas-triplets/history")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/someone")
    assert history_file() == Path("/someone/.local/state/mas-triplets/history")
