"""What `query` does once it is known what is asked: search, then print and write. Imported when it is needed."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import typer

from mas_triplets.console import WRONG_USE, print_json, print_table
from mas_triplets.retrieval.answers import facts_json, facts_tables, hits_json, hits_rows, searched, write_sheet
from mas_triplets.retrieval.batch import answer_batch, batch_file
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.free_words import embed_words_of
from mas_triplets.retrieval.hits import Hit
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.page import write_facts_page, write_hits_page
from mas_triplets.retrieval.prompt import Prompt, completions
from mas_triplets.retrieval.queries import Reader
from mas_triplets.retrieval.typed_lines import history_file, typed_lines
from mas_triplets.retrieval.vocabulary import Vocabulary
from mas_triplets.retrieval.written import facts_csv, hits_csv, json_lines


class _Words:
    """The vocabulary of an index, made when it is first asked for."""

    def __init__(self, index: FactIndex) -> None:
        self._index = index

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of_index(self._index)

    def __call__(self) -> Vocabulary:
        return self.vocabulary


def ask_for_pictures(
    index: FactIndex, wanted: Mapping[str, Any] | Path, k: int, form: str, sheet: Path | None, html: Path | None
) -> None:
    """Answer with pictures: those that show facts, or those that are like a photograph.

    Args:
        index: where to look.
        wanted: the texts of the facts, as `Reader.query` takes them, or the photograph.
        k: how many.
        form: `table`, `json`, `jsonl` or `csv`, for standard output.
        sheet: the contact sheet to write, if any.
        html: the page to write, if any.
    """
    asked = wanted if isinstance(wanted, Path) else None
    if isinstance(wanted, Path):
        hits, title = index.similar(wanted, k), f"pictures like {wanted.name}"
    else:
        query = Reader(_Words(index)).query(wanted, _note)
        for told in embed_words_of(index, query.facts):
            _note(f"note: {told}")
        hits, title = answer(index, [query], k)[0], f"pictures for {query}"
        if query.is_single and index.record.kind != "flat":
            _note(f"note: {searched(index, query.fact)}")
    if sheet is not None:
        write_sheet(hits, title, sheet)
    if html is not None:
        write_hits_page(hits, title, index, html, asked)
    _print_hits(hits, title, form)
    if form == "table":
        _tell_written(sheet, html)


def ask_what_it_shows(index: FactIndex, photo: Path, k: int, form: str, html: Path | None) -> None:
    """Answer with the facts that hold in a photograph, each order by itself."""
    found = index.facts_of(photo, k)
    if html is not None:
        write_facts_page(found, photo, index, html)
    if form == "json":
        print_json(facts_json(found))
    elif form == "jsonl":
        sys.stdout.write(json_lines(facts_json(found)))
    elif form == "csv":
        sys.stdout.write(facts_csv(found))
    else:
        for title, rows in facts_tables(found).items():
            print_table(title, rows)
        _tell_written(None, html)


def ask_file(index: FactIndex, path: Path, k: int) -> None:
    """Answer the queries of a file with JSON Lines; exit code 2 if a line could not be answered."""
    name = "standard input" if str(path) == "-" else str(path)
    with batch_file(path) as file:
        wrong = answer_batch(index, Reader(_Words(index)), file, name, sys.stdout, k, _note)
    if wrong:
        _note(f"{wrong:,} {'line' if wrong == 1 else 'lines'} of {name} could not be answered")
        raise typer.Exit(WRONG_USE)


def ask_prompt(index: FactIndex, k: int) -> None:
    """Answer what is typed, until it ends; the index and the vocabulary are loaded before the first line.

    At a terminal Ctrl-C gives up the query that is being answered, and the prompt goes on.
    """
    words = _Words(index)
    prompt = Prompt(index, Reader(words), k=k)
    print(f"{len(index):,} rows, {len(words().words):,} words. Ask for a fact; ? tells what else there is.")
    for line in typed_lines(lambda begun: completions(begun, words()), history_file()):
        try:
            if not prompt.enter(line):
                return
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print("given up")


def show_file(path: Path) -> None:
    """Open a page or a picture with what the system opens such files with; where there is nothing, say so."""
    if not webbrowser.open(path.resolve().as_uri()):
        _note(f"note: there is no program here to open {path} with")


def _print_hits(hits: list[Hit], title: str, form: str) -> None:
    if form == "json":
        print_json(hits_json(hits))
    elif form == "jsonl":
        sys.stdout.write(json_lines(hits_json(hits)))
    elif form == "csv":
        sys.stdout.write(hits_csv(hits))
    else:
        print_table(title, hits_rows(hits))


def _tell_written(sheet: Path | None, html: Path | None) -> None:
    for what, path in (("Contact sheet", sheet), ("Page", html)):
        if path is not None:
            print(f"{what}: {path}")


def _note(text: str) -> None:
    print(text, file=sys.stderr)
