"""Which words stand in which slot, as far as an index knows; words are looked up in any form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.inflection import base_texts

AROUND = frozenset(
    {"a", "an", "the", "some", "several", "many", "two", "three", "four", "his", "her", "its", "their"}
    | {"am", "are", "be", "been", "being", "is", "there", "was", "were", "that", "which", "who"}
)
"""Articles, numbers and auxiliaries: words that a person writes around what a slot holds."""


@dataclass(frozen=True)
class Match:
    """A text of the vocabulary that some words stand for; `cost` is 0 where it is written in the very same words."""

    text: str
    cost: int


@dataclass
class Vocabulary:
    """The texts of each slot.

    Attributes:
        facts: the facts of the run's data set.
        slots: the texts of subjects, predicates and objects.
    """

    facts: frozenset[Fact]
    slots: tuple[frozenset[str], frozenset[str], frozenset[str]]
    intransitive: frozenset[str] = field(init=False)
    """Predicates that stand in facts, but in none with an object: smile, red."""
    _forms: list[dict[str, list[Match]]] = field(init=False)

    def __post_init__(self) -> None:
        transitive = {fact.predicate for fact in self.facts if fact.object is not None}
        alone = frozenset(fact.predicate for fact in self.facts if fact.predicate is not None)
        self.intransitive = alone - transitive
        self._forms = [_forms(texts) for texts in self.slots]

    @classmethod
    def of_facts(cls, facts: Iterable[Fact]) -> Vocabulary:
        """Take the texts of each slot from facts."""
        known = frozenset(facts)
        columns = [frozenset(text for fact in known if (text := fact.slots[slot]) is not None) for slot in range(3)]
        return cls(known, (columns[0], columns[1], columns[2]))

    @classmethod
    def of_index(cls, index: FactIndex) -> Vocabulary:
        """Take them from the facts of an index; one that has no list of facts knows its run's words, for any slot."""
        try:
            return cls.of_facts(index.facts)
        except UserError:
            words = frozenset(index.run.language.words)
            return cls(frozenset(), (words, words, words))

    @property
    def words(self) -> list[str]:
        """All texts, sorted."""
        return sorted(frozenset().union(*self.slots))

    def find(self, words: Sequence[str], slot: int) -> list[Match]:
        """Return what some words may stand for in a slot, the nearest wording first; none if nothing.

        Either may be inflected, words of `AROUND` may be left out or added: "is sitting on" finds `sit on`.
        """
        found: dict[str, int] = {}
        for dropped, wording in _wordings(words):
            for number, text in enumerate(base_texts(wording)):
                for match in self._forms[slot].get(text, ()):
                    cost = dropped + (2 if number else 0) + match.cost
                    found[match.text] = min(cost, found.get(match.text, cost))
        return sorted((Match(text, cost) for text, cost in found.items()), key=lambda match: (match.cost, match.text))


def _wordings(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (0, the words as they are) and (1, the words without those of `AROUND`), if any are left."""
    yield 0, " ".join(words)
    kept = [word for word in words if word not in AROUND]
    if kept and len(kept) < len(words):
        yield 1, " ".join(kept)


def _forms(texts: Iterable[str]) -> dict[str, list[Match]]:
    """Return each text under all forms that stand for it."""
    forms: dict[str, list[Match]] = {}
    for text in sorted(texts):
        for dropped, wording in _wordings(text.split()):
            for number, form in enumerate(base_texts(wording)):
                forms.setdefault(form, []).append(Match(text, dropped + (2 if number else 0)))
    return forms
