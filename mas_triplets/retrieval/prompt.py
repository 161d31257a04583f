"""A prompt over an index that stays loaded: queries are answered as they are typed, words are completed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mas_triplets.console import print_table
from mas_triplets.errors import UserError
from mas_triplets.retrieval.answers import facts_tables, hits_rows, write_sheet
from mas_triplets.retrieval.compound import answer
from mas_triplets.retrieval.free_words import embed_words_of
from mas_triplets.retrieval.hits import Hit
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.page import write_hits_page
from mas_triplets.retrieval.queries import JOINED, Reader
from mas_triplets.retrieval.vocabulary import Vocabulary

HELP = """\
<person, ride, horse>        a fact; * or an empty slot is open
person riding horse          the same in plain words
dog --or cat --not person    several facts: --or first, then --and, then --not
:k 20                        how many answers from now on
:image PHOTO                 which facts a photograph shows
:similar PHOTO               pictures that are like it
:sheet out.png               write the last pictures found as a contact sheet
:html out.html               write them as a page
:quit                        leave (also Ctrl-D)
Tab completes words of the vocabulary, the arrows go back to earlier lines."""


@dataclass
class Prompt:
    """What a line does, apart from how lines are typed.

    Attributes:
        index: where to look.
        reader: what reads queries.
        say: what prints a line that is no result.
        k: answers a query.
        hits: the last pictures found.
        asked: what they were found for.
    """

    index: FactIndex
    reader: Reader
    say: Callable[[str], None] = print
    k: int = 10
    hits: list[Hit] = field(default_factory=list)
    asked: str = ""

    def enter(self, line: str) -> bool:
        """Do what a line says, and return whether to go on; what is wrong with it is said and nothing else happens."""
        line = line.strip()
        if line in (":quit", ":q", ":exit"):
            return False
        try:
            if line in ("?", ":help"):
                self.say(HELP)
            elif line.startswith(":"):
                self._command(*line[1:].partition(" ")[::2])
            elif line:
                self._query(line)
        except UserError as error:
            self.say(f"error: {error}")
        except OSError as error:
            self.say(f"error: {error.filename or line}: {error.strerror}")
        return True

    def _query(self, line: str) -> None:
        start = time.perf_counter()
        query = self.reader.line(line, self.say)
        for told in embed_words_of(self.index, query.facts):
            self.say(f"note: {told}")
        self._found(answer(self.index, [query], self.k)[0], f"pictures for {query}", start)

    def _found(self, hits: list[Hit], title: str, start: float) -> None:
        took = 1000 * (time.perf_counter() - start)
        self.hits, self.asked = hits, title
        print_table(title, hits_rows(hits))
        self.say(f"{len(hits):,} of {len(self.index):,} in {took:,.0f} ms")

    def _command(self, name: str, value: str) -> None:
        value = value.strip()
        commands = {
            "k": self._set_k,
            "image": self._image,
            "similar": self._similar,
            "sheet": self._sheet,
            "html": self._html,
        }
        if name not in commands:
            listed = ", ".join(f":{one}" for one in (*commands, "quit"))
            raise UserError(f"there is no ':{name}': the commands are {listed}; ? tells more")
        if not value:
            raise UserError(f":{name} needs {'a number' if name == 'k' else 'a file'} after it; ? tells more")
        commands[name](value)

    def _set_k(self, value: str) -> None:
        if not (value.isascii() and value.isdigit()) or int(value[:9]) < 1:
            raise UserError(f":k {value}: give a whole number from 1 on")
        self.k = int(value[:9])
        self.say(f"{self.k:,} answers a query from now on")

    def _image(self, value: str) -> None:
        for title, rows in facts_tables(self.index.facts_of(Path(value).expanduser(), self.k)).items():
            print_table(title, rows)

    def _similar(self, value: str) -> None:
        start = time.perf_counter()
        self._found(self.index.similar(Path(value).expanduser(), self.k), f"pictures like {value}", start)

    def _sheet(self, value: str) -> None:
        self._check_found()
        write_sheet(self.hits, self.asked, Path(value).expanduser())
        self.say(f"Contact sheet: {value}")

    def _html(self, value: str) -> None:
        self._check_found()
        write_hits_page(self.hits, self.asked, self.index, Path(value).expanduser())
        self.say(f"Page: {value}")

    def _check_found(self) -> None:
        if not self.hits:
            raise UserError("nothing has been found yet: ask for a fact first")


def completions(line: str, vocabulary: Vocabulary) -> list[str]:
    """Return what the last word of a line may go on as, sorted; each begins with the last word.

    In brackets or after a comma it is completed from the words of that slot, of which several may make one text:
    "<person, next t" goes on as "to". Elsewhere it is completed from all texts.

    Example: "<person, ri" may give ["ride"], "--n" gives ["--not"].
    """
    word = "" if not line or line[-1].isspace() else line.split()[-1]
    if word.startswith(("-", ":")):
        names = [f"--{name}" for name in JOINED] + [":html", ":image", ":k", ":quit", ":sheet", ":similar"]
        return [name for name in sorted(names) if name.startswith(word)]
    fact = line
    for name in JOINED:
        fact = fact.rpartition(f"--{name} ")[2]
    if "<" not in fact and "," not in fact:
        return [text for text in vocabulary.words if text.startswith(word)] if word else []
    slot = fact.count(",")
    begun = " ".join(fact.replace("<", ",").rpartition(",")[2].split())
    if slot > 2 or fact.rstrip().endswith(">"):
        return []
    begun += " " if begun and fact.endswith(" ") else ""
    before = begun.rpartition(" ")[0]
    cut = len(before) + 1 if " " in begun else 0
    return [text[cut:] for text in sorted(vocabulary.slots[slot]) if text.startswith(begun)]
