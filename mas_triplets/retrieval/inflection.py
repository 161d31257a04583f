"""Base forms of English words, as candidates to be looked up: riding -> ride, horses -> horse, sat -> sit.

Nothing here knows which candidate is a word; a vocabulary does. So a few rules do, without a lemmatiser and its tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, product

_IRREGULAR = """
bite bit bitten,bring brought,build built,carry carried,catch caught,child children,die dying,do did done
draw drew drawn
drink drank drunk,drive drove driven,eat ate eaten,fall fell fallen,feed fed,fly flew flown,foot feet,give gave given
go went gone,goose geese,grow grew grown,hang hung,have has had,hide hid hidden,hold held,keep kept,lead led,lean leant
leave left,lie lying lay lain,lose lost,make made,man men,mouse mice,pay paid,person people,ride rode ridden,run ran
see saw seen,sell sold,shake shook shaken,shoot shot,sing sang,sit sat,sleep slept,stand stood,steal stole stolen
sweep swept,swim swam swum,swing swung,take took taken,teach taught,tear tore torn,throw threw thrown,tie tying
tooth teeth,wear wore worn,woman women,write wrote written
"""
_BASE = {
    form: base for base, *forms in map(str.split, _IRREGULAR.replace(",", "\n").split("\n")[1:-1]) for form in forms
}
_VOWELS = "aeiou"
_MOST = 256  # combinations of a text's words that are tried


@lru_cache(maxsize=1 << 16)
def base_forms(word: str) -> tuple[str, ...]:
    """Return a word and what it may be a form of, the word itself first.

    Example: `base_forms("sitting")` is `("sitting", "sitt", "sitte", "sit")`.
    """
    return tuple(dict.fromkeys([word, *_candidates(word)]))


def base_texts(text: str) -> Iterator[str]:
    """Yield a text and what it may be a form of, word by word, the text itself first.

    Example: "sits on" gives "sits on", "sit on".
    """
    words = [base_forms(word) for word in text.split()]
    yield from (" ".join(forms) for forms in islice(product(*words), _MOST))


def _candidates(word: str) -> Iterator[str]:
    if word in _BASE:
        yield _BASE[word]
    if len(word) < 4:  # "as", "is", "bed"
        return
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("ves"):
        yield word[:-3] + "f"
        yield word[:-3] + "fe"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
    if word.endswith("ied"):
        yield word[:-3] + "y"
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and any(letter in _VOWELS + "y" for letter in stem):
            yield stem
            yield stem + "e"
            if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
                yield stem[:-1]
