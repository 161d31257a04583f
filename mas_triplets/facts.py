"""Facts <subject, predicate, object>: their order, mask, wild cards, text form and parsing.

A labelled fact has order 1 <s>, 2 <s, p> or 3 <s, p, o>; the slots it lacks are absent from the right. A query may
leave any slot open (a wild card, written `*` or left empty): <*, ride, horse> has the mask (0, 1, 1).
An absent slot and an open one are the same thing, `None`, because both mean "this slot does not count in the score".
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mas_triplets.errors import UserError

SLOTS = ("subject", "predicate", "object")
"""The names of the three slots, in the order used by every tensor with a slot axis."""

WILD_CARD = "*"
_SPACES = re.compile(r"[\s_]+")


@lru_cache(maxsize=1 << 16)  # a vocabulary's words come again and again, and equal ones then share their memory
def normalise_text(text: str) -> str:
    """Return `text` in the form facts are compared in: NFKC, case-folded, `_` and white space runs to one space.

    Idempotent. Example: `normalise_text(" Jump_Over ")` is `"jump over"`.
    """
    while True:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        folded = _SPACES.sub(" ", folded).strip()
        if folded == text:
            return folded
        text = folded


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8: a lone surrogate, which JSON can spell, cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact or a query of facts; slots hold normalised text, or None where absent or open.

    Text given to the constructor is normalised; `*` and the empty text become None.

    Raises:
        UserError: all three slots are empty, or one holds what is not valid Unicode text.
    """

    subject: str | None
    predicate: str | None = None
    object: str | None = None

    def __post_init__(self) -> None:
        for slot in SLOTS:
            value = getattr(self, slot)
            if value is not None:
                if isinstance(value, str) and not is_unicode(value):
                    raise UserError(f"the {slot} {value!r} is not valid Unicode text: write it anew")
                value = normalise_text(value)
                object.__setattr__(self, slot, None if value in ("", WILD_CARD) else value)
        if not any(self.mask):
            raise UserError("a fact needs at least one slot: <*, *, *> would match every picture alike")

    @property
    def slots(self) -> tuple[str | None, str | None, str | None]:
        """The three slots in the order of `SLOTS`."""
        return (self.subject, self.predicate, self.object)

    @property
    def mask(self) -> tuple[bool, bool, bool]:
        """Which slots are present: `Fact("person", "ride").mask == (True, True, False)`."""
        return (self.subject is not None, self.predicate is not None, self.object is not None)

    @property
    def order(self) -> int:
        """How many slots are present, 1 to 3."""
        return sum(self.mask)

    @property
    def is_labelled_form(self) -> bool:
        """Whether this can be a label: <s>, <s, p> or <s, p, o>, nothing open on the left of what is present."""
        return self.mask in ((True, False, False), (True, True, False), (True, True, True))

    @property
    def sort_key(self) -> tuple[int, str, str, str]:
        """Order, then the slots' text: the order of facts in a prepared data set."""
        return (self.order, *(slot or "" for slot in self.slots))  # type: ignore[return-value]

    def covers(self, other: Fact) -> bool:
        """Whether every slot present here has the same text in `other`: <person, ride> covers <person, ride, horse>."""
        return all(mine is None or mine == theirs for mine, theirs in zip(self.slots, other.slots, strict=True))

    def __str__(self) -> str:
        """The text form, which `parse` reads back: `<person, ride>`, `<*, ride, horse>`."""
        last = max(index for index, present in enumerate(self.mask) if present)
        return "<" + ", ".join(_quoted(slot) for slot in self.slots[: last + 1]) + ">"

    @classmethod
    def parse(cls, text: str) -> Fact:
        """Read `<person, ride, horse>`; the brackets may be left out, `*` and empty slots are open.

        A slot that holds a comma, a quote or a bracket is written in double quotes, a quote inside doubled.

        Raises:
            UserError: not one to three slots, an open quote, or nothing but wild cards.
        """
        body = text.strip()
        if body.startswith("<") != body.endswith(">"):
            raise UserError(f"{text!r} is not a fact: the brackets do not match; write <person, ride, horse>")
        body = body.removeprefix("<").removesuffix(">")
        try:
            rows = list(csv.reader(io.StringIO(body, newline=""), skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise UserError(f"{text!r} is not a fact: {error}; write <person, ride, horse>") from None
        if len(rows) != 1 or not 1 <= len(rows[0]) <= 3:
            count = sum(len(row) for row in rows)
            raise UserError(f"{text!r} has {count} slots; a fact has one to three: <person, ride, horse>")
        try:
            return cls(*rows[0])
        except UserError as error:
            raise UserError(f"{text!r}: {error}") from None


def _quoted(slot: str | None) -> str:
    if slot is None:
        return WILD_CARD
    if any(character in slot for character in ',"<>'):
        return '"' + slot.replace('"', '""') + '"'
    return slot
