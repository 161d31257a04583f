"""A sentence around the text of a slot, such as "a photo of {subject}"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS

Slot = Literal["subject", "predicate", "object"]
_ANY = "text"
_KEY = "model.text.template"


@dataclass(frozen=True)
class Sentence:
    """What stands before and after a text; the bare text where both are empty."""

    before: str = ""
    after: str = ""

    def fill(self, text: str) -> str:
        """Return the sentence about `text`."""
        return f"{self.before}{text}{self.after}"

    @property
    def shown(self) -> str:
        """The sentence with {text} in the place of the text."""
        return self.fill(f"{{{_ANY}}}")


@dataclass(frozen=True)
class Templates:
    """The sentence of each slot.

    Example: `Templates.of("a photo of {subject}")["object"].fill("dog")` is "a photo of dog": one template serves all
    slots, whichever name stands in it. With a mapping each slot has its own, and slots it lacks have the bare text.
    """

    sentences: tuple[Sentence, Sentence, Sentence] = (Sentence(), Sentence(), Sentence())

    @classmethod
    def of(cls, template: str | Mapping[str, str] | None) -> Templates:
        """Read what the configuration says.

        Raises:
            UserError: a template has no placeholder, more than one, or an unknown one.
        """
        if template is None:
            return cls()
        if isinstance(template, str):
            sentence = _parsed(template, _KEY, (*SLOTS, _ANY))
            return cls((sentence, sentence, sentence))
        for slot in template:
            if slot not in SLOTS:
                raise UserError(f"{_KEY}.{slot} is no slot: give a sentence for {', '.join(SLOTS)}")
        own = {slot: _parsed(sentence, f"{_KEY}.{slot}", (slot, _ANY)) for slot, sentence in template.items()}
        subject, predicate, thing = (own.get(slot, Sentence()) for slot in SLOTS)
        return cls((subject, predicate, thing))

    def __getitem__(self, slot: str) -> Sentence:
        return self.sentences[SLOTS.index(slot)]

    @property
    def per_slot(self) -> bool:
        """Whether slots differ."""
        return len(set(self.sentences)) > 1


def _parsed(template: str, key: str, names: tuple[str, ...]) -> Sentence:
    valid = ", ".join(f"{{{name}}}" for name in names)
    example = f"for example 'a photo of {{{names[0]}}}'"
    before, after, found = "", "", 0
    try:
        for literal, name, form, conversion in Formatter().parse(template):
            if found:
                after += literal
            else:
                before += literal
            if name is None:
                continue
            if name not in names or form or conversion:
                raise UserError(
                    f"{key}={template!r} has the placeholder {{{name}}}, which is not known: use one of {valid}, "
                    f"{example}"
                )
            found += 1
    except ValueError as error:
        raise UserError(f"{key}={template!r} is no template ({error}): use one of {valid}, {example}") from None
    if found != 1:
        has = "no placeholder" if not found else f"{found} placeholders"
        raise UserError(f"{key}={template!r} has {has}: the text goes where one of {valid} stands, {example}")
    return Sentence(before, after)
