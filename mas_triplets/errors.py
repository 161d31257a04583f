"""The error a person is meant to read.

Everything that goes wrong because of what the user gave (a file, a record, a key, a wish) is a `UserError`: one
sentence that names what was wrong, where, and what to do. The command line prints it and ends with exit code 2.
Any other exception is a bug of ours and ends with a traceback and exit code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong use or bad input; the message is a sentence that names file, record and remedy."""


class Stopped(BaseException):
    """Work was stopped on request; the message is a sentence that says how to go on.

    Like KeyboardInterrupt, which it stands for, it passes whoever catches every Exception.
    """


def nearest(word: str, candidates: Iterable[str], count: int = 1) -> list[str]:
    """Return the `count` candidates that look most like `word`, best first; empty if none is close."""
    return difflib.get_close_matches(word, list(candidates), n=count, cutoff=0.5)


def unknown(kind: str, word: str, candidates: Iterable[str]) -> UserError:
    """Build the error for a name that is not known: it lists the valid ones and the nearest match.

    Example: `unknown("strategy", "mass", ["mas", "l2"])` says
    "unknown strategy 'mass': did you mean 'mas'? Valid: l2, mas".
    """
    names = sorted(candidates)
    close = nearest(word, names)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return UserError(f"unknown {kind} '{word}': {hint}Valid: {', '.join(names)}")
