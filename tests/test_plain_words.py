"""Plain words to facts: what is read, what every vocabulary reads back, and what is said of words without a place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mas_triplets import Fact, UserError
from mas_triplets.retrieval.inflection import base_forms
from mas_triplets.retrieval.plain_words import is_plain, read_plain
from mas_triplets.retrieval.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_facts(
    [
        *(Fact("person"), Fact("dog"), Fact("water"), Fact("the sea"), Fact("dog", "run"), Fact("girl", "smile")),
        *(Fact("person", "ride", "horse"), Fact("dog", "jump over", "wave"), Fact("person", "next to", "hot dog")),
        *(Fact("person", "wearing", "hat"), Fact("dog", "sit on", "bench"), Fact("person", "hold", "knife")),
    ]
)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("person riding horse", "<person, ride, horse>"),
        ("A person is riding a horse.", "<person, ride, horse>"),
        ("dogs jumping over the waves", "<dog, jump over, wave>"),
        ("the dog sits on a bench", "<dog, sit on, bench>"),
        ("dog is sitting on bench", "<dog, sit on, bench>"),
        ("people wear hats", "<person, wearing, hat>"),
        ("man holding knives", "<man, hold, knife>"),
        ("person held knife", "<person, hold, knife>"),
        ("dog", "<dog>"),
        ("two dogs running", "<dog, run>"),
        ("the sea", "<the sea>"),
        ("sea", "<the sea>"),
        ("horse", "<*, *, horse>"),  # no subject of any fact
        ("riding", "<*, ride>"),
        ("riding a horse", "<*, ride, horse>"),
        ("someone riding something", "<*, ride>"),
        ("* next_to a hot dog", "<*, next to, hot dog>"),
        ("dog * water", "<dog, *, water>"),
        ("dog water", "<dog, *, water>"),
        ("smiling dog", "<dog, smile>"),  # smile has never an object
        ("running dogs", "<dog, run>"),
        ("person petting zebra", "<person, petting, zebra>"),
        ("big dog riding horse", "<big dog, ride, horse>"),
        ("dog jumping into water", "<dog, jumping into, water>"),
        ("zebra", "<zebra>"),
        ("red dog", "<red dog>"),
    ],
)
def test_reads(text: str, fact: str) -> None:
    assert read_plain(text, VOCABULARY) == Fact.parse(fact)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no word"),
        ("...", "holds no word"),
        ("person riding hrose near a big tall brdge", r"'hrose' \(nearest known: horse\).*cannot be placed: say which"),
        ("dog with a person riding horse in water", "'with', 'in' cannot be placed: say which is which"),
        ("dog person horse water", "cannot be read as one subject.*joined with --and"),
        ("dog and person", "'and' is no part of a fact; join several facts with --and FACT"),
        ("dog without water", "join several facts with --not FACT"),
        ("* something", "cannot be read"),
        ("dog " * 30, "too long"),
        ("very very big small dog running", "cannot be placed"),
    ],
)
def test_what_has_no_place_is_told(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_plain(text, VOCABULARY)


def test_words_that_two_readings_want_are_asked_about() -> None:
    vocabulary = Vocabulary.of_facts([Fact("leaf"), Fact("leave"), Fact("dog", "on", "mat")])
    assert read_plain("leaf on dog", vocabulary) == Fact("leaf", "on", "dog")
    with pytest.raises(UserError, match="can be read as <leaf, glow> or <leave, glow>: write the one that is meant"):
        read_plain("leaves glow", vocabulary)


def test_what_is_in_order_comes_before_what_would_have_to_be_turned() -> None:
    facts = [Fact("dogs", "dogs dog"), Fact("dogs", "dog", "dogs")]
    assert read_plain("dogs dog dogs", Vocabulary.of_facts(facts)) == facts[1]


def test_plain_is_what_has_no_marks_of_a_fact() -> None:
    assert is_plain("person riding horse")
    assert not any(map(is_plain, ("<dog>", "dog,run", '"dog"', "dog>")))


@pytest.mark.parametrize(
    ("word", "base"),
    [
        *(("riding", "ride"), ("horses", "horse"), ("running", "run"), ("carries", "carry"), ("carried", "carry")),
        *(("buses", "bus"), ("knives", "knife"), ("leaves", "leaf"), ("men", "man"), ("sat", "sit"), ("lying", "lie")),
        *(("holds", "hold"), ("stopped", "stop"), ("playing", "play"), ("glasses", "glass"), ("ties", "tie")),
        *(("flying", "fly"), ("dress", "dress"), ("bus", "bus"), ("bed", "bed")),
    ],
)
def test_base_forms(word: str, base: str) -> None:
    assert base_forms(word)[0] == word
    assert base in base_forms(word)
    if word == base:
        assert base_forms(word) == (word,)


WORDS = (
    "dog",
    "dogs",
    "hot",
    "ride",
    "riding",
    "on",
    "the",
    "is",
    "man",
    "men",
    "smile",
    "in",
    "something",
    "and",
    "two",
)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)
SLOTS_OF = st.one_of(st.tuples(TEXTS), st.tuples(TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS))


@settings(max_examples=200, deadline=None)
@given(st.lists(SLOTS_OF, min_size=1, max_size=8))
def test_every_fact_of_a_vocabulary_reads_back_as_itself(slots: list[tuple[str, ...]]) -> None:
    """But where two facts are the same words, as <a b> and <a, b> are: then it reads as one of them."""
    facts = {Fact(*given) for given in slots}
    vocabulary = Vocabulary.of_facts(facts)
    for fact in facts:
        words = " ".join(text for text in fact.slots if text is not None)
        same = {one for one in facts if " ".join(text for text in one.slots if text is not None) == words}
        assert read_plain(words, vocabulary) in same
