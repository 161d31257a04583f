"""The methods of a comparison: the runs that differ in nothing but seed and order of tasks, and what each is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.lifelong import read_keys, tuned_keys

LABELLED = ("lifelong.strategy", "lifelong.strength")
"""Settings that a method is called by."""

BOUNDS = {"finetune": "lower bound", "joint": "upper bound"}
"""The methods that others lie between, and what they are called."""


@dataclass(frozen=True)
class Method:
    """The runs that differ in nothing but their seed and the order of tasks.

    Attributes:
        label: the strategy, its strength, and what else sets it apart from the other methods of the comparison.
        family: the same without the strength: methods of one family differ in their strength alone.
        strength: what decides how much it keeps; None if nothing does.
        entries: its runs.
    """

    label: str
    family: str
    strength: float | None
    entries: tuple[Entry, ...]

    @property
    def strategy(self) -> str:
        """The method's name."""
        return self.entries[0].strategy

    @property
    def control(self) -> str:
        """What its importance is replaced with, `none` if it is its own."""
        return str(self.entries[0].settings.get("lifelong.control", "none"))


def methods_of(entries: Sequence[Entry]) -> list[Method]:
    """Group runs that differ in nothing but their seed and order of tasks, in the order of their first ones."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(repr(entry.settings), []).append(entry)
    groups = list(grouped.values())
    firsts = [group[0] for group in groups]
    return [Method(_label(group[0], firsts), *_family(group[0], firsts), tuple(group)) for group in groups]


def _label(entry: Entry, others: Sequence[Entry]) -> str:
    """Return the strategy, its strength, its control, and what else sets it apart from others of the same three."""
    alike = [other for other in others if all(other.settings[key] == entry.settings[key] for key in LABELLED)]
    strength = entry.settings["lifelong.strength"]
    parts = [entry.strategy, *([] if strength is None else [f"{strength:g}"])]
    control = ["lifelong.control"] if "lifelong.control" in read_keys(entry.strategy) else []
    apart = [key for key in differing(alike, lambda key: True) if key not in control]
    return ", ".join([" ".join(parts), *_told(entry, [*control, *apart])])


def _family(entry: Entry, others: Sequence[Entry]) -> tuple[str, float | None]:
    """Return what the method is called without its strength, and the strength.

    The strength is the one key that decides how much the method keeps, `lifelong.strength` where there are several.
    """
    keys = list(tuned_keys(entry.strategy))
    key = keys[0] if len(keys) == 1 else "lifelong.strength"
    value = entry.settings.get(key)
    alike = [other for other in others if other.strategy == entry.strategy]
    apart = differing(alike, lambda name: name not in (key, *LABELLED))
    strength = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return ", ".join([entry.strategy, *_told(entry, apart)]), strength


def _told(entry: Entry, keys: Sequence[str]) -> list[str]:
    """Return `name value` of the settings; that importance is not replaced by a control goes without saying."""
    return [
        f"{key.rpartition('.')[2]} {entry.settings[key]}"
        for key in keys
        if (key, entry.settings[key]) != ("lifelong.control", "none")
    ]


def differing(entries: Sequence[Entry], wanted: Callable[[str], bool]) -> list[str]:
    """Return the wanted settings that are not the same in all runs."""
    keys = [key for key in entries[0].settings if wanted(key)]
    return [key for key in keys if len({repr(entry.settings[key]) for entry in entries}) > 1]
