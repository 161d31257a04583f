"""Words that stand for others: lists of `canonical,alias,alias` lines, followed to their end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mas_triplets.errors import UserError
from mas_triplets.facts import normalise_text


def read_aliases(path: Path) -> dict[str, str]:
    """Return alias -> canonical word of a file with one line a canonical word, whatever the order of the lines.

    A canonical word may itself be an alias in another line (glassess, glasses, glass): it is followed to the last one.
    Where that runs in a circle (a is b, b is a), the word of the circle that comes first in the alphabet is taken.
    Where two lines claim an alias, the canonical word that comes first in the alphabet has it.

    Raises:
        UserError: the file cannot be read as UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of aliases: {error}") from None
    direct: dict[str, str] = {}
    for line in text.splitlines():
        canonical, *aliases = (normalise_text(word) for word in line.split(","))
        for alias in aliases:
            if canonical and alias and alias != canonical:
                direct[alias] = min(canonical, direct.get(alias, canonical))
    return {alias: _end(alias, direct) for alias in direct}


def _end(word: str, direct: Mapping[str, str]) -> str:
    passed = [word]
    while (following := direct.get(passed[-1])) is not None:
        if following in passed:
            return min(passed[passed.index(following) :])
        passed.append(following)
    return passed[-1]
