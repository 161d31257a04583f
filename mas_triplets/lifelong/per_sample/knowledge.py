"""Remembering what was found about a model, so that a second estimate does not check everything again.

The check costs a few passes over the parameters, which is much against a single small batch. What it finds depends on
the code of the forward and on the parameters' shapes, not on their values, so it is kept with the model for as long as
its fingerprint stays the same. Where the code cannot be told apart (functions with closures), nothing is kept.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mas_triplets.lifelong.per_sample.batches import Batch, size_of, tensors_in
from mas_triplets.lifelong.per_sample.tape import Layouts


@dataclass(frozen=True)
class Learnt:
    """What two samples told about a model.

    layouts: where each call's result keeps its samples.
    excluded: parameters with which no rule is trusted.
    took_part: parameters that took part in the output.
    """

    layouts: Layouts
    excluded: frozenset[str]
    took_part: frozenset[str]


_kept: weakref.WeakKeyDictionary[nn.Module, dict[Hashable, Learnt]] = weakref.WeakKeyDictionary()


class Knowledge:
    """What is known about a model when used with these functions."""

    def __init__(self, model: nn.Module, output: Any, objective: Any, statistic: str) -> None:
        self.model = model
        functions = [None if function is None else _code(function) for function in (output, objective)]
        self.fingerprint: Hashable | None = None
        if all(code is not _OPAQUE for code in functions):
            self.fingerprint = (*functions, statistic, _structure(model))

    def recall(self, batch: Batch) -> Learnt | None:
        """Return what was found earlier with such a batch, or None."""
        return _kept.get(self.model, {}).get((self.fingerprint, _kind(batch))) if self.fingerprint else None

    def keep(self, batch: Batch, learnt: Learnt) -> None:
        """Remember what was found; of each model only the latest."""
        if self.fingerprint:
            _kept[self.model] = {(self.fingerprint, _kind(batch)): learnt}


def forget(model: nn.Module) -> None:
    """Forget what was found about a model, so that the next estimate checks everything again."""
    _kept.pop(model, None)


_OPAQUE = object()
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


def _code(function: Any) -> Any:
    """Return the code of a plain function, or _OPAQUE if its behaviour depends on more than that."""
    if isinstance(function, types.FunctionType) and not function.__closure__ and not function.__defaults__:
        return function.__code__
    return _OPAQUE


def _structure(model: nn.Module) -> Hashable:
    """Return what the forward's code depends on: classes, their forwards, parameters, hooks, plain settings.

    The settings of PyTorch's own layers are left out: all that these do is seen as it happens.
    """
    return tuple(
        (
            type(module),
            getattr(type(module), "forward", None),
            tuple(map(id, module._parameters.values())),
            tuple(map(id, (*module._forward_hooks.values(), *module._forward_pre_hooks.values()))),
            () if _is_plain_layer(module) else tuple(_setting(value) for value in _settings(module)),
        )
        for module in model.modules()
    ) + tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in model.named_parameters())


def _is_plain_layer(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and "forward" not in module.__dict__


def _settings(module: nn.Module) -> Iterator[Any]:
    for key, value in module.__dict__.items():
        if key not in ("training", "_parameters", "_buffers", "_modules"):
            yield value


def _setting(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return tuple(_setting(item) for item in value)
    if isinstance(value, dict | set):
        return len(value)
    if isinstance(value, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        return id(value)
    return str(type(value))


def _kind(batch: Batch) -> Hashable:
    """Return what the forward may depend on in a batch: its container, and each tensor's axes, type and samples."""
    size = size_of(batch)
    return (
        type(batch),
        tuple((t.ndim, t.dtype, t.ndim > 0 and t.shape[0] == size) for t in tensors_in(batch)),
        torch.is_autocast_enabled(tensors_in(batch)[0].device.type),
    )
