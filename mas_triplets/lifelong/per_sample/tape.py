"""Watching a forward pass: which function takes which parameter, and where each result keeps its samples.

A `TorchFunctionMode` sees every call of a torch function, so a parameter that is used directly (a class token, tied
weights, `out_proj.weight` read without calling `out_proj`) is seen as surely as one inside a layer. Hooks on modules
would miss those. What the mode cannot see (compiled code, some custom autograd functions) is caught by the comparison
with ordinary gradients in `run.py`.

Two modes share the bookkeeping. `Recorder` runs on single samples and on a pair, and only notes results; comparing
them tells the layout of each call. `Capture` (`capture.py`) runs on whole batches and gathers gradients.
"""

from __future__ import annotations

import math
import types
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout
from mas_triplets.lifelong.per_sample.rules import RULES, RepeatCall

# A call: function, parameters that went in, and its how-manieth occurrence with these in one forward.
Key = tuple[str, tuple[str, ...], int]
# The layout of each call's result. SHARED: the same for every sample (made from parameters and constants alone).
SHARED = "shared"
Layouts = dict[Key, "Layout | str | None"]


def _attention_without_dispatch() -> Callable[..., Any]:
    """Return `multi_head_attention_forward` so that the mode sees the functions within it, not only itself."""
    original = F.multi_head_attention_forward
    visible = {**original.__globals__, "has_torch_function": lambda _: False}
    copy = types.FunctionType(
        original.__code__, visible, original.__name__, original.__defaults__, original.__closure__
    )
    copy.__kwdefaults__ = original.__kwdefaults__
    return copy


COMPOSITE: dict[Callable[..., Any], Callable[..., Any]] = {
    F.multi_head_attention_forward: _attention_without_dispatch()
}


@dataclass(frozen=True)
class Tracked:
    """A tensor that depends on parameters alone: a parameter, or something computed from parameters.

    `graph` is the same value with a graph that leads to `sources`, where it is not itself a parameter.
    """

    value: Tensor
    names: tuple[str, ...]
    graph: Tensor | None = None


def tensors_of(value: Any) -> Iterable[Tensor]:
    """Yield the tensors in arguments or results, nested lists, tuples and dictionaries included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)


def replaced(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return arguments or results with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        if not any(True for _ in tensors_of(value)):  # a torch.Size, for example
            return value
        items = [replaced(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: replaced(item, change) for key, item in value.items()}
    return value


class Watch(TorchFunctionMode):
    """Follow parameters through a forward pass; subclasses say what to do at a call.

    Args:
        parameters: name -> parameter, those wanted.
        constants: tensors that are the same for every sample: the model's buffers.
        layouts: of the calls, as far as known.
    """

    def __init__(self, parameters: dict[str, Tensor], constants: Iterable[Tensor], layouts: Layouts) -> None:
        super().__init__()
        self.constants = {id(tensor): tensor for tensor in constants}
        self.layouts = layouts
        self.tracked = {id(tensor): Tracked(tensor, (name,)) for name, tensor in parameters.items()}
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors: list[Tensor] = []  # this runs at every call of a torch function, so plain cases come first
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                tensors.append(value)
            elif isinstance(value, list | tuple | dict):
                tensors.extend(tensors_of(value))
        used = [self.tracked[id(tensor)] for tensor in tensors if id(tensor) in self.tracked]
        if not used or not torch.is_grad_enabled():
            result = func(*args, **kwargs)
            if tensors and all(id(tensor) in self.constants for tensor in tensors):  # a part of a buffer
                self.constants.update((id(tensor), tensor) for tensor in tensors_of(result))
            return result
        if func in COMPOSITE:
            with self:
                return COMPOSITE[func](*args, **kwargs)
        alone = all(id(tensor) in self.tracked or id(tensor) in self.constants for tensor in tensors)
        call = self._bind(func, args, kwargs)
        if call is None or (alone and not isinstance(call, RepeatCall)):
            if alone:
                return self.derive(func, args, kwargs, used)
            return self.unknown(func, args, kwargs, used)
        names = tuple(name for tracked in used for name in tracked.names)
        which = (getattr(func, "__name__", str(func)), names)
        key = (*which, self.seen[which])
        self.seen[which] += 1
        if self.layouts.get(key) == SHARED:
            return self.derive(func, args, kwargs, used)
        return self.known(func, args, kwargs, used, call, key)

    @staticmethod
    def _bind(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        rule = RULES.get(func)
        if rule is None:
            return None
        try:
            return rule(*args, **kwargs)
        except TypeError:  # arguments that the rule does not know, such as out=
            return None

    def derive(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        """Run a function of parameters (and constants) alone, and track its results."""
        raise NotImplementedError

    def unknown(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        """Run a function that mixes parameters with samples in a way that no rule covers."""
        raise NotImplementedError

    def known(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key) -> Any:
        """Run a function that a rule covers."""
        raise NotImplementedError


class Recorder(Watch):
    """Note the results of the calls that rules cover. The forward is untouched and can be differentiated."""

    def __init__(self, parameters: dict[str, Tensor], constants: Iterable[Tensor], layouts: Layouts) -> None:
        super().__init__(parameters, constants, layouts)
        self.results: dict[Key, Tensor] = {}

    @override
    def derive(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        result = func(*args, **kwargs)
        names = tuple(dict.fromkeys(name for tracked in used for name in tracked.names))
        for tensor in tensors_of(result):
            if tensor.requires_grad and id(tensor) not in self.tracked:
                self.tracked[id(tensor)] = Tracked(tensor, names)
        return result

    @override
    def unknown(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        return func(*args, **kwargs)

    @override
    def known(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key) -> Any:
        result = func(*args, **kwargs)
        self.results[key] = result.detach().clone()  # a copy: an in-place ReLU may follow
        return result


def close(values: Tensor, expected: Tensor, share: float) -> bool:
    """Tell whether all values are as expected but for a share of the largest; never where one is not finite."""
    largest = float(expected.abs().max())
    return math.isfinite(largest) and torch.allclose(values.float(), expected.float(), 0, share * largest + 1e-30)


def layout_of(first: Tensor | None, second: Tensor | None, pair: Tensor) -> Layout | str | None:
    """Tell a result's layout from its values for two different samples, one at a time and together.

    Returns None where it cannot be told, for example where both ways to fold an axis fit.
    """
    if first is None or second is None or first.shape != second.shape or first.ndim != pair.ndim:
        return None

    if first.shape == pair.shape:
        return SHARED if torch.equal(first, second) and torch.equal(first, pair) else None
    axes = [axis for axis in range(pair.ndim) if pair.shape[axis] != first.shape[axis]]
    if len(axes) != 1 or pair.shape[axes[0]] != 2 * first.shape[axes[0]]:
        return None
    axis = axes[0]
    candidates = [Layout(axis)] if first.shape[axis] == 1 else [Layout(axis, "outer"), Layout(axis, "inner")]
    fitting = []
    for layout in candidates:
        rows = layout.samples_first(pair, 2)
        # shapes: with a folded axis the rest is what one sample has; with an axis of one it is squeezed away
        singles = [one.squeeze(axis) if layout.fold == "alone" else one for one in (first, second)]
        # only tells layouts apart; batches of one and of two may be computed by different kernels
        if rows is not None and all(close(row, single, 1e-2) for single, row in zip(singles, rows, strict=True)):
            fitting.append(layout)
    return fitting[0] if len(fitting) == 1 else None
