"""Words outside the vocabulary: embedded by the run's text encoder where it knows them, told where it does not."""

from __future__ import annotations

from collections.abc import Sequence

from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.language import LanguageTable, UnknownTextError
from mas_triplets.model.texts import TextEncoder
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.spelling import one_edit_away, spelt_like

_ALIKE = 0.8  # share of equal letters from which a word may be another one misspelt
_NAMED = 3
_LONGEST_WORD = 30  # letters; longer ones are not looked for among the encoder's words


def embed_free_words(language: LanguageTable, facts: Sequence[Fact]) -> list[str]:
    """Embed what the vocabulary does not hold, all of it at once, and return what is to be told of it, a line a text.

    The vectors stay in `language`: they come from the encoder of the run's configuration, centred and scaled as in
    training, and are given out only if words of the vocabulary, embedded beside them, are what they were then.

    Raises:
        UserError: the encoder knows nothing of a text (the nearest known ones are named), or cannot be used.
    """
    new = sorted({text for fact in facts for text in fact.slots if text is not None and text not in language})
    if not new:
        return []
    try:
        language.embed(facts)
    except UnknownTextError as error:
        raise UserError(_unknown(error.text, language)) from None
    except UserError as error:
        raise UserError(
            f"{_listed(new)} not in the vocabulary, and the text encoder that would embed it cannot be used: {error}"
        ) from None
    return [*(_told(text, language) for text in new), *language.told_of(new)]


def embed_words_of(index: FactIndex, facts: Sequence[Fact]) -> list[str]:
    """Do the same for queries to an index; class means know no words, so there nothing is embedded."""
    return embed_free_words(index.run.language, facts) if index.space.parts == SLOTS else []


def _told(text: str, language: LanguageTable) -> str:
    alike = spelt_like(text, language.words, 1, least=_ALIKE)
    swapped = one_edit_away(text) if len(text) <= _LONGEST_WORD else []
    alike += [word for word in swapped if sorted(word) == sorted(text) and word in language]  # "dgo"
    meant = f"; did you mean '{alike[0]}'?" if alike else ":"
    return f"'{text}' is not in the vocabulary{meant} {language.name} embeds it, but no picture was learnt with it"


def _unknown(text: str, language: LanguageTable) -> str:
    others = [] if " " in text or len(text) > _LONGEST_WORD else _known(one_edit_away(text), language.encoder)
    close = spelt_like(text, language.words, _NAMED, least=_ALIKE) + spelt_like(
        text, [*language.words, *others], _NAMED
    )
    close = list(dict.fromkeys(close))[:_NAMED]
    said = f"'{text}' is not in the vocabulary, nor known to {language.name}"
    if not close:
        return f"{said}: ask for a word of the vocabulary, such as {', '.join(language.words[:_NAMED])}"
    return f"{said}; did you mean {' or '.join(repr(word) for word in close)}?"


def _known(words: Sequence[str], encoder: TextEncoder) -> list[str]:
    """Return the words that an encoder knows; none of one that has a vector for anything, real word or not."""
    unknown = set(encoder.encode(words).unknown)
    return [word for word in words if word not in unknown] if 2 * len(unknown) > len(words) else []


def _listed(texts: Sequence[str]) -> str:
    return f"{', '.join(map(repr, texts))} {'is' if len(texts) == 1 else 'are'}"
