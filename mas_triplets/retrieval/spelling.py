"""Words that are spelt like another one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def spelt_like(word: str, candidates: Iterable[str], count: int = 3, *, least: float = 0.6) -> list[str]:
    """Return the candidates that are spelt most like `word`, best first, at most `count`.

    Args:
        word: what was written.
        candidates: what may have been meant.
        count: how many at most.
        least: share of equal letters, 0 to 1 (difflib's ratio), below which two words are not alike.
    """
    return difflib.get_close_matches(word, sorted(set(candidates) - {word}), n=count, cutoff=least)


def one_edit_away(word: str) -> list[str]:
    """Return all words that one letter more, less, changed, or two neighbours swapped, make of `word`; sorted.

    Example: "horse" is among those of "hrose", "hors" and "hoarse".
    """
    parts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    found = {left + right[1:] for left, right in parts if right}
    found |= {left + right[1] + right[0] + right[2:] for left, right in parts if len(right) > 1}
    found |= {left + letter + right[1:] for left, right in parts if right for letter in _LETTERS}
    found |= {left + letter + right for left, right in parts for letter in _LETTERS}
    return sorted(found - {word, ""})
