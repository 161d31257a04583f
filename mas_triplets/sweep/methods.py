"""The methods of a sweep: a strategy, settings of its own, and what it is called.

    mas                                                the strategy
    mas+lwf                                            two at once
    ewc:lifelong.root=true:lifelong.accumulate=decay   with settings of its own, each after a colon
    shuffled=mas:lifelong.control=shuffled             with a label

Nothing in it means anything to a shell, as long as the values do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mas_triplets.config import valid_keys
from mas_triplets.errors import UserError, unknown
from mas_triplets.lifelong import read_keys
from mas_triplets.lifelong.methods import parts

SET_BY_SWEEP = (
    "seed",
    "data.path",
    "data.split",
    "data.region",
    "data.train_parts",
    "evaluation.part",
    "lifelong.strategy",
)
"""Keys that are the same for all methods, or that the sweep itself decides."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_NEXT_SETTING = re.compile(r":(?=[\w.]+=)")
_FORM = "a method is STRATEGY, STRATEGY:key=value:key=value, or LABEL=STRATEGY:key=value"


@dataclass(frozen=True)
class Method:
    """A method of a sweep.

    Attributes:
        label: names its folder and its rows.
        strategy: `lifelong.strategy`.
        settings: settings of its own, `key=value` each.
    """

    label: str
    strategy: str
    settings: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it sets itself."""
        return tuple(setting.partition("=")[0] for setting in self.settings)


def parse_methods(texts: Iterable[str]) -> tuple[Method, ...]:
    """Read methods, each text one or several with commas between them.

    >>> [method.label for method in parse_methods(["l2,mas:lifelong.control=shuffled", "soft=l2:lifelong.every=1"])]
    ['l2', 'mas-control-shuffled', 'soft']

    Raises:
        UserError: there is none, the form is wrong, a strategy or key is unknown, a key is the sweep's own, or two
            methods have one label.
    """
    methods = tuple(_parse(piece) for text in texts for piece in split_outside_brackets(text))
    if not methods:
        raise UserError("a sweep needs methods: name them with --methods, such as --methods mas,l2,finetune,joint")
    labels = [method.label for method in methods]
    twice = [label for place, label in enumerate(labels) if label in labels[:place]]
    if twice:
        raise UserError(f"two methods are called '{twice[0]}': name each once, or give one a label, LABEL=STRATEGY:...")
    return methods


def split_outside_brackets(text: str) -> list[str]:
    """Split at commas that are not inside brackets or braces; empty pieces are dropped.

    >>> split_outside_brackets("mas:model.hidden=[64,64],l2")
    ['mas:model.hidden=[64,64]', 'l2']
    """
    pieces, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece.strip() for piece in pieces if piece.strip()]


def check_key(key: str, where: str) -> None:
    """Raise UserError if `key` is no key of a configuration, or one that a sweep decides."""
    if key not in valid_keys():
        raise unknown(f"key of {where}", key, valid_keys())
    if key in SET_BY_SWEEP:
        raise UserError(f"{where}: '{key}' is the same for all methods of a sweep: set it with --set or in the file")


def _parse(text: str) -> Method:
    head, *settings = _NEXT_SETTING.split(text)
    label, equals, strategy = head.partition("=")
    if not equals:
        strategy = label
    if ":" in strategy or "=" in strategy or not strategy:
        raise UserError(f"'{text}' in --methods cannot be read: {_FORM}")
    parts(strategy)
    for setting in settings:
        key = setting.partition("=")[0]
        check_key(key, f"'{text}' in --methods")
        if key.startswith("lifelong.") and key not in read_keys(strategy):
            raise UserError(f"'{text}' in --methods: '{key}' means nothing to '{strategy}': leave it out")
    label = label if equals else "-".join([strategy, *(_in_words(setting) for setting in settings)])
    if not _LABEL.fullmatch(label):
        raise UserError(f"'{label}' cannot name a folder: label the method with letters, digits, '.', '_', '+' and '-'")
    return Method(label, strategy, tuple(settings))


def _in_words(setting: str) -> str:
    """Return a setting as part of a folder's name: `control-shuffled` for `lifelong.control=shuffled`."""
    key, _, value = setting.partition("=")
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{key.rpartition('.')[2]}-{value}").strip("-")
