"""The settings that are tried: the grid of each key, and as many points of all grids for one method as for another."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from mas_triplets.config import RunConfig, flat_values, make_config
from mas_triplets.errors import UserError
from mas_triplets.lifelong import closed_form, read_keys, tuned_keys
from mas_triplets.sweep.methods import Method, check_key, split_outside_brackets

Setting = dict[str, Any]
"""Key -> value of what is chosen, in the order of the method's keys."""
Grids = Mapping[str, Sequence[Any]]
"""Key -> the values to choose from."""

_DRAWN = 2000  # Latin squares of which the best is taken


def parse_grids(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Read `key=v1,v2,...`, each value YAML.

    >>> parse_grids(["lifelong.strength=0.1,1"])
    {'lifelong.strength': (0.1, 1)}

    Raises:
        UserError: the form is wrong, the key is unknown, the sweep's own, or given twice, or a value comes twice.
    """
    grids: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        key, equals, listed = text.partition("=")
        key = key.strip()
        pieces = split_outside_brackets(listed)
        if not equals or not pieces:
            raise UserError(f"--set-grid {text!r} is not of the form key=v1,v2,... such as lifelong.strength=0.1,1,10")
        check_key(key, f"--set-grid {text!r}")
        if key in grids:
            raise UserError(f"--set-grid gives '{key}' twice: give all its values at once, key=v1,v2,...")
        try:
            grids[key] = tuple(yaml.safe_load(piece) for piece in pieces)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
            raise UserError(f"--set-grid {text!r} is not valid YAML: {' '.join(str(error).split())}") from None
    return grids


def grids_of(method: Method, config: RunConfig, given: Grids) -> dict[str, tuple[Any, ...]]:
    """Return the grid of each key that is chosen for a method, its values as the configuration holds them, ascending.

    These are the keys that tell how much the method keeps, with their own grids or those of `given`, and of the other
    keys in `given` those that mean something to it. What the method sets itself is not chosen.

    Args:
        method: the method.
        config: that the sweep begins from.
        given: the grids that were asked for.

    Raises:
        UserError: a value is not valid for its key, or comes twice.
    """
    grids: Grids = {**tuned_keys(method.strategy), **{key: given[key] for key in given if _means(key, method)}}
    tree = config.model_dump(mode="json")
    found: dict[str, tuple[Any, ...]] = {}
    for key, values in grids.items():
        if key in method.keys:
            continue
        where = f"--set-grid {key}"
        resolved = [flat_values(make_config(tree, [as_setting(key, value)], where=where))[key] for value in values]
        twice = [value for place, value in enumerate(resolved) if value in resolved[:place]]
        if twice:
            raise UserError(f"{where} has the value {twice[0]!r} twice: give each once")
        found[key] = tuple(sorted(resolved) if _numbers(resolved) else resolved)
    return found


def check_grids_used(methods: Sequence[Method], given: Grids) -> None:
    """Raise UserError if a grid is for a key that no method chooses."""
    for key in given:
        if not any(
            key not in method.keys and (key in tuned_keys(method.strategy) or _means(key, method)) for method in methods
        ):
            names = ", ".join(method.label for method in methods)
            raise UserError(f"--set-grid {key}: none of the methods {names} has it to choose: leave it out")


def _means(key: str, method: Method) -> bool:
    """Whether a key means something to a method."""
    if key.startswith("lifelong."):
        return key in read_keys(method.strategy)
    return not closed_form(method.strategy)


def _numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def as_setting(key: str, value: Any) -> str:
    """Return `key=value` as `make_config` reads it.

    >>> as_setting("train.learning_rate", 1e-05), as_setting("train.optimiser", "sgd")
    ('train.learning_rate=1.0e-05', 'train.optimiser=sgd')
    """
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return f"{key}={text.removesuffix(chr(10)).removesuffix('...').strip()}"


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return the name of a setting, fit for a folder.

    >>> setting_name({"lifelong.strength": 10.0, "lifelong.distillation": 0.3})
    'lifelong.strength=10,lifelong.distillation=0.3'
    """
    return ",".join(f"{key}={re.sub(r'[^A-Za-z0-9._+-]+', '-', value_text(value))}" for key, value in setting.items())


def value_text(value: Any) -> str:
    """Return a value as a person writes it: `10` for 10.0."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def shared_budget(grids: Iterable[Grids], budget: int) -> int:
    """Return how many settings each method tries: `budget`, or as many as the method with the fewest has.

    A method with one setting has nothing to choose and does not count.

    >>> shared_budget([{"a": (1, 2, 3)}, {"a": (1, 2, 3), "b": (1, 2, 3)}, {}], 6)
    3
    """
    sizes = [math.prod(len(values) for values in grid.values()) for grid in grids]
    return min([budget, *(size for size in sizes if size > 1)])


def settings_tried(grids: Grids, budget: int) -> list[Setting]:
    """Return the settings that are tried, `budget` of them or all there are.

    With one key they are spread evenly over its grid, both ends among them. With several keys they form a Latin
    square: each value of a key comes about equally often. Of 2000 such squares, drawn with a fixed seed, the one is
    taken whose two nearest points are farthest apart. The same grids give the same settings every time.

    >>> settings_tried({"a": (1, 2, 3, 4, 5)}, 3)
    [{'a': 1}, {'a': 3}, {'a': 5}]
    """
    sizes = [len(values) for values in grids.values()]
    if not sizes:
        return [{}]
    if math.prod(sizes) <= budget:
        points = [list(point) for point in itertools.product(*(range(size) for size in sizes))]
    elif len(sizes) == 1:
        points = [[place] for place in _spread(sizes[0], budget)]
    else:
        points = _latin(sizes, budget)
    return [{key: grids[key][place] for key, place in zip(grids, point, strict=True)} for point in points]


def _spread(size: int, count: int) -> list[int]:
    """Return `count` places of a grid, evenly: each about equally often if there are fewer values than places."""
    if count == 1:
        return [size // 2]
    if count <= size:
        return [round(place * (size - 1) / (count - 1)) for place in range(count)]
    return [place * size // count for place in range(count)]


def _latin(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Return the places (count, keys) of a well spread Latin square, no two alike, in ascending order."""
    generator = np.random.default_rng(0)
    columns = [np.array(_spread(size, count)) for size in sizes]
    scale = np.array([max(1, size - 1) for size in sizes])
    best, widest = None, (-1.0, -1.0)
    for _ in range(_DRAWN):
        points = np.stack([generator.permutation(column) for column in columns], 1)
        gaps = np.abs(points[:, None] - points[None]) / scale
        pairs = np.sqrt((gaps**2).sum(-1))[np.triu_indices(count, 1)]
        nearest = float(pairs.min()) if len(pairs) else 0.0
        spread = (round(nearest, 9), round(float(pairs.sum()), 9))
        if spread > widest:
            best, widest = points, spread
    assert best is not None
    chosen = list(dict.fromkeys(tuple(point) for point in best.tolist()))
    others = [point for point in itertools.product(*(range(size) for size in sizes)) if point not in chosen]
    while len(chosen) < count:  # a grid that is nearly used up has hardly any such square
        gaps = (np.abs(np.array(others)[:, None] - np.array(chosen)[None]) / scale) ** 2
        chosen.append(others.pop(int(gaps.sum(-1).min(1).argmax())))
    return sorted(list(point) for point in chosen)
