"""Facts: parsing, mask, order, wild cards, normalisation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mas_triplets.errors import UserError
from mas_triplets.facts import Fact, normalise_text

texts = st.text(max_size=20)
slots = st.text(min_size=1, max_size=12).map(normalise_text).filter(lambda text: text not in ("", "*"))
facts = st.tuples(st.none() | slots, st.none() | slots, st.none() | slots).filter(any).map(lambda words: Fact(*words))


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("<person, ride, horse>", ("person", "ride", "horse")),
        ("person,ride,horse", ("person", "ride", "horse")),
        ("< Person ,  Jump_Over , Horse >", ("person", "jump over", "horse")),
        ("<dog>", ("dog", None, None)),
        ("<dog, run>", ("dog", "run", None)),
        ("<dog, run, *>", ("dog", "run", None)),
        ("<*, ride, horse>", (None, "ride", "horse")),
        ("<person, , horse>", ("person", None, "horse")),
        ("<, , horse>", (None, None, "horse")),
        ('<"salt, pepper", on, table>', ("salt, pepper", "on", "table")),
    ],
)
def test_parsing(text: str, slots: tuple[str | None, ...]) -> None:
    assert Fact.parse(text).slots == slots


@pytest.mark.parametrize("text", ["", "<>", "<*, *, *>", "<a, b, c, d>", "<a, b", "a, b>", '<"a, b>', "a\nb"])
def test_what_is_no_fact_is_told(text: str) -> None:
    with pytest.raises(UserError):
        Fact.parse(text)


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(UserError, match=r"the predicate .* is not valid Unicode text"):
        Fact("dog", "run\ud800")


def test_mask_and_order() -> None:
    assert Fact("person", "ride").mask == (True, True, False)
    assert [Fact("a").order, Fact("a", "b").order, Fact("a", "b", "c").order] == [1, 2, 3]
    assert Fact("a", "b").is_labelled_form
    assert not Fact(None, "ride", "horse").is_labelled_form
    assert not Fact("person", None, "horse").is_labelled_form


def test_a_wild_card_covers_whatever_is_there() -> None:
    whole = Fact("person", "ride", "horse")
    assert Fact.parse("<*, ride, *>").covers(whole)
    assert Fact.parse("<person>").covers(whole)
    assert not Fact.parse("<dog, ride, *>").covers(whole)
    assert not whole.covers(Fact("person", "ride"))


@given(facts)
def test_the_text_form_is_read_back(fact: Fact) -> None:
    assert Fact.parse(str(fact)) == fact


@given(texts)
def test_normalisation_is_idempotent_and_blind_to_case_and_spaces(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert normalise_text(f" _{once}_\t") == once
    assert "_" not in once
    assert "  " not in once


def test_normalisation_by_hand() -> None:
    assert normalise_text(" Jump_Over\t it ") == "jump over it"
    assert normalise_text("ＳＴＲＡＳＳＥ") == normalise_text("Straße") == "strasse"
    assert normalise_text("ﬁre") == "fire"


@given(facts, facts)
def test_equal_facts_are_those_with_equal_slots(one: Fact, other: Fact) -> None:
    assert (one == other) == (one.slots == other.slots)
    assert one.covers(other) == all(a is None or a == b for a, b in zip(one.slots, other.slots, strict=True))
