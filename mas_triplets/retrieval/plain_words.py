"""Plain words to a fact: "a person riding horses" is <person, ride, horse>, with the words of an index's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product

from mas_triplets.errors import UserError
from mas_triplets.facts import WILD_CARD, Fact, normalise_text
from mas_triplets.retrieval.spelling import spelt_like
from mas_triplets.retrieval.vocabulary import AROUND, Vocabulary

WILD = frozenset({WILD_CARD, "anybody", "anyone", "anything", "somebody", "someone", "something"})
_JOINING = {"and": "--and", "or": "--or", "not": "--not", "without": "--not"}
_PREPOSITIONS = frozenset(
    {"across", "along", "at", "behind", "by", "down", "from", "in", "into", "near", "of", "off", "on", "onto", "over"}
    | {"through", "to", "under", "up", "with"}
)
_MOST_WORDS = 24
_ELSEWHERE, _TURNED, _NO_SUBJECT, _NO_PREDICATE, _FREE, _FREE_WORD = 4, 1, 1, 6, 20, 8
"""What a reading costs: a noun of another slot, a verb before its noun, a slot passed over, words that are new."""


@dataclass(frozen=True)
class _Reading:
    """One way to read a text: by its cost, then known facts first, then the longer entries first."""

    fact: Fact
    cost: int
    lengths: tuple[int, int]

    def key(self, vocabulary: Vocabulary) -> tuple[int, bool, int, int, str]:
        return (self.cost, self.fact not in vocabulary.facts, -self.lengths[0], -self.lengths[1], str(self.fact))


def is_plain(text: str) -> bool:
    """Whether a query is written in plain words: it has no bracket, comma or quote."""
    return not any(mark in text for mark in '<>,"')


def read_plain(text: str, vocabulary: Vocabulary) -> Fact:
    """Read "person riding a horse" as <person, ride, horse>: subject, predicate and object in this order.

    The reading that needs the least is taken: entries of the vocabulary as they are written, then in another form, with
    or without articles, numbers and auxiliaries; then a slot passed over ("riding horse" is <*, ride, horse>, but
    "smiling girl" is <girl, smile> if that is a fact, or `smile` never has an object); then words outside the
    vocabulary, which stay as they are written. `*`, something, someone are wild cards.

    Raises:
        UserError: the words cannot be placed, or in several ways that are equally near; the sentence says what to do.
    """
    words = _words(text, vocabulary)
    if not words:
        raise UserError(f"{text!r} holds no word: ask for a fact such as 'person riding horse'")
    if len(words) > _MOST_WORDS:
        raise UserError(f"a query of {len(words)} words is too long for one fact: write <person, ride, horse>")
    _check_joining(text, words, vocabulary)
    readings = sorted(_readings(words, vocabulary), key=lambda reading: reading.key(vocabulary))
    if not readings:
        raise _not_placed(text, words, vocabulary)
    best = readings[0]
    others = [one.fact for one in readings if one.cost == best.cost and one.fact != best.fact]
    if best.cost >= _FREE and others:  # which words belong together is anybody's guess
        raise UserError(
            f"{text!r} can be read as {best.fact} or {others[0]}: write the one that is meant, with < and >"
        )
    return best.fact


def _words(text: str, vocabulary: Vocabulary) -> list[str]:
    known = {word for texts in vocabulary.slots for entry in texts for word in entry.split()}
    words = [word if word in known else word.strip(".!?;:") for word in normalise_text(text).split()]
    return [word for word in words if word]


def _readings(words: Sequence[str], vocabulary: Vocabulary) -> Iterator[_Reading]:
    @cache
    def options(start: int, stop: int, slot: int) -> tuple[tuple[int, str | None], ...]:
        return tuple(_options(words[start:stop], slot, vocabulary))

    end = len(words)
    for first, second in combinations_with_replacement(range(end + 1), 2):
        spans = (options(0, first, 0), options(first, second, 1), options(second, end, 2))
        passed = _NO_SUBJECT * (first == 0) + (_NO_PREDICATE if first else _NO_SUBJECT) * (first == second < end)
        for chosen in product(*spans):
            slots = [text for _, text in chosen]
            if any(text is not None for text in slots):
                cost = passed + sum(cost for cost, _ in chosen)
                yield _Reading(Fact(slots[0], slots[1], slots[2]), cost, (first, second - first))
    for first in range(1, end):  # "smiling girl"
        for (one, verb), (other, noun) in product(options(0, first, 1), options(first, end, 0)):
            if noun is not None and verb is not None:
                fact = Fact(noun, verb)
                if fact in vocabulary.facts or (verb in vocabulary.intransitive and noun in vocabulary.slots[0]):
                    yield _Reading(fact, _TURNED + one + other, (end - first, first))


def _options(words: Sequence[str], slot: int, vocabulary: Vocabulary) -> Iterator[tuple[int, str | None]]:
    """Yield (cost, text) of what some words may be in a slot; None is open."""
    if not words:
        yield 0, None
        return
    if len(words) == 1 and words[0] in WILD and words[0] not in vocabulary.slots[slot]:
        yield 0, None
        return
    found = {match.text: match.cost for match in vocabulary.find(words, slot)}
    if slot != 1:
        for match in vocabulary.find(words, 2 - slot):
            found.setdefault(match.text, match.cost + _ELSEWHERE)
    if found:
        yield from ((cost, text) for text, cost in found.items())
        return
    bare = [word for word in words if word not in AROUND]
    if bare and not set(bare) & WILD and _may_be_free(bare, slot, vocabulary):
        new = sum(_is_new(word, vocabulary) for word in bare)
        before_verb = _FREE if slot == 1 and new < len(bare) else 0  # "man holding" is rather a subject and a verb
        yield _FREE + _FREE_WORD * new + before_verb, " ".join(bare)


def _may_be_free(words: Sequence[str], slot: int, vocabulary: Vocabulary) -> bool:
    """Whether words that no entry has may fill a slot: one, one or two before a known one, a verb and a preposition."""
    if len(words) == 1:
        return True
    if any(vocabulary.find(words[-1:], other) for other in ((1,) if slot == 1 else (0, 2))):
        return len(words) <= 3 and not any(vocabulary.find([word], other) for word in words[:-1] for other in range(3))
    return slot == 1 and len(words) == 2 and words[1] in _PREPOSITIONS


def _check_joining(text: str, words: Sequence[str], vocabulary: Vocabulary) -> None:
    known = {word for texts in vocabulary.slots for entry in texts for word in entry.split()}
    for word in words:
        if word in _JOINING and word not in known:
            raise UserError(f"{text!r}: {word!r} is no part of a fact; join several facts with {_JOINING[word]} FACT")


def _not_placed(text: str, words: Sequence[str], vocabulary: Vocabulary) -> UserError:
    lost = [word for word in words if word not in AROUND and _is_new(word, vocabulary)]
    remedy = "say which is which, as in <person, ride, horse>, with * for what is open"
    if not lost:
        return UserError(
            f"{text!r} cannot be read as one subject, predicate and object: {remedy}; several facts are joined "
            "with --and"
        )
    told = []
    for word in dict.fromkeys(lost):
        close = spelt_like(word, vocabulary.words)
        told.append(f"{word!r}" + (f" (nearest known: {', '.join(close)})" if close else ""))
    return UserError(f"{text!r}: {', '.join(told)} cannot be placed: {remedy}")


def _is_new(word: str, vocabulary: Vocabulary) -> bool:
    return word not in WILD and not any(vocabulary.find([word], slot) for slot in range(3))
