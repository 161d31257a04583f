"""What a person asks for: one fact, or several joined with AND, OR and NOT, read from text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.retrieval.expression import And, Expression, Is, Not, Or
from mas_triplets.retrieval.plain_words import is_plain, read_plain
from mas_triplets.retrieval.vocabulary import Vocabulary

JOINED = ("and", "or", "not")
"""How further facts are joined to the first; `--and` and so on in text."""
_KEYS = ("fact", *JOINED, "id")
_LONGEST = 400  # characters of a fact: comparing spellings takes the square of it


@dataclass(frozen=True, slots=True)
class Query:
    """(fact OR each of `either`) AND each of `both` AND NOT each of `none`.

    Example: `Query(Fact("person", "ride"), none=(Fact("dog"),))` asks for somebody riding where there is no dog.
    """

    fact: Fact
    both: tuple[Fact, ...] = ()
    either: tuple[Fact, ...] = ()
    none: tuple[Fact, ...] = ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts, each once, the first one first."""
        return tuple(dict.fromkeys([self.fact, *self.either, *self.both, *self.none]))

    @property
    def is_single(self) -> bool:
        """Whether it asks for one fact and nothing else."""
        return not (self.both or self.either or self.none)

    @property
    def expression(self) -> Expression:
        """The query as a tree: alternatives are formed first, then everything is joined with AND."""
        first: Expression = Is(self.fact)
        if self.either:
            first = Or((first, *map(Is, self.either)))
        rest: list[Expression] = [Is(fact) for fact in self.both]
        rest += [Not(Is(fact)) for fact in self.none]
        return And((first, *rest)) if rest else first

    def __str__(self) -> str:
        """As a person reads it: `(<dog> or <cat>) and <person> and not <*, *, water>`."""
        first = " or ".join(map(str, (self.fact, *self.either)))
        if self.either and (self.both or self.none):
            first = f"({first})"
        return first + "".join(f" and {fact}" for fact in self.both) + "".join(f" and not {f}" for f in self.none)


@dataclass(frozen=True)
class Reader:
    """Reads queries with the words of a vocabulary.

    Attributes:
        vocabulary: what plain words are looked up in; made when it is first needed, since not every query has any.
    """

    vocabulary: Callable[[], Vocabulary]

    def fact(self, text: str, note: Callable[[str], None] = lambda _: None) -> Fact:
        """Read one fact, in brackets or commas or in plain words; how plain words were read is told to `note`.

        Raises:
            UserError: it is no fact; the sentence says why.
        """
        if len(text) > _LONGEST:
            raise UserError(
                f"a fact of {len(text):,} characters is too long ({text[:20]}...): give at most {_LONGEST:,}"
            )
        if not is_plain(text):
            return Fact.parse(text)
        fact = read_plain(text, self.vocabulary())
        note(f"read as {fact}")
        return fact

    def query(self, texts: Mapping[str, Any], note: Callable[[str], None] = lambda _: None) -> Query:
        """Read {"fact": text, "and": [text], "or": [text], "not": [text]}; all but the first may be absent.

        Raises:
            UserError: a key is another, a value no text or no list of texts, or a text no fact.
        """
        wrong = sorted(texts.keys() - set(_KEYS))
        if wrong:
            raise UserError(f"a query has no '{wrong[0]}': its keys are {', '.join(_KEYS)}")
        first = texts.get("fact")
        if not isinstance(first, str):
            raise UserError('a query needs a "fact", such as "<person, ride, horse>"')
        joined = {key: texts.get(key) or [] for key in JOINED}
        for key, value in joined.items():
            if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(t, str) for t in value):
                raise UserError(f'"{key}" of a query should be a list of facts, such as ["<dog>"]')
        fact = self.fact(first, note)
        both, either, none = (tuple(self.fact(text, note) for text in joined[key]) for key in JOINED)
        return Query(fact, both, either, none)

    def line(self, text: str, note: Callable[[str], None] = lambda _: None) -> Query:
        """Read one line: a fact, then further ones after `--and`, `--or` or `--not`.

        Example: "person riding horse --not <*, *, water>".

        Raises:
            UserError: the line does not begin with a fact, or a text is no fact.
        """
        return self.query(split_line(text), note)


def split_line(text: str) -> dict[str, Any]:
    """Return the texts of a line's facts, under the keys that `Reader.query` reads.

    Example: "dog --or cat --not <person>" is {"fact": "dog", "and": [], "or": ["cat"], "not": ["<person>"]}.

    Raises:
        UserError: nothing stands before the first joining word, or after one.
    """
    found: dict[str, list[str]] = {key: [] for key in ("fact", *JOINED)}
    place: list[str] = []
    key = "fact"
    for word in [*text.split(), "--fact"]:
        if word not in {f"--{one}" for one in ("fact", *JOINED)}:
            place.append(word)
            continue
        if not place:
            where = f"after --{key}" if key != "fact" else f"before {word}" if text.strip() else "here"
            raise UserError(f"a fact is missing {where}: write it as in <person, ride> --and <dog> --not <cat>")
        found[key].append(" ".join(place))
        place, key = [], word.removeprefix("--")
    return {**found, "fact": found["fact"][0]}
