"""Watching a forward pass: which function takes which parameter, and where each result keeps its samples.

A `TorchFunctionMode` sees every call of a torch function, so a parameter that is used directly (a class token, tied
weights, `out_proj.weight` read without calling `out_proj`) is seen as surely as one inside a layer. Hooks on modules
would miss those. What the mode cannot see (compiled code, some custom autograd functions) is caught by the comparison
with ordinary gradients in `per_sample.py`.

Two modes share the bookkeeping. `Recorder` runs on single samples and on a pair, and only notes results; comparing
them tells the layout of each call. `Capture` runs on whole batches and gathers per-sample gradients.
"""

from __future__ import annotations

import types
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mas_triplets.lifelong.per_sample_gradients import Derived, Gradients
from mas_triplets.lifelong.per_sample_rules import RULES, Call, Layout, RepeatCall

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
    """Follow parameters through a forward pass; subclasses say what to do at a call."""

    def __init__(self, parameters: dict[str, Tensor], layouts: Layouts) -> None:
        super().__init__()
        self.layouts = layouts
        self.tracked = {id(tensor): Tracked(tensor, (name,)) for name, tensor in parameters.items()}
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = list(tensors_of((args, kwargs)))
        used = [self.tracked[id(tensor)] for tensor in tensors if id(tensor) in self.tracked]
        if not used or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if func in COMPOSITE:
            with self:
                return COMPOSITE[func](*args, **kwargs)
        alone = len(used) == len(tensors)
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

    def known(
        self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key
    ) -> Any:
        """Run a function that a rule covers."""
        raise NotImplementedError


class Recorder(Watch):
    """Note the results of the calls that rules cover. The forward is untouched and can be differentiated."""

    def __init__(self, parameters: dict[str, Tensor], layouts: Layouts) -> None:
        super().__init__(parameters, layouts)
        self.results: dict[Key, Tensor] = {}

    def derive(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        result = func(*args, **kwargs)
        names = tuple(dict.fromkeys(name for tracked in used for name in tracked.names))
        for tensor in tensors_of(result):
            if tensor.requires_grad and id(tensor) not in self.tracked:
                self.tracked[id(tensor)] = Tracked(tensor, names)
        return result

    def unknown(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        return func(*args, **kwargs)

    def known(
        self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key
    ) -> Any:
        result = func(*args, **kwargs)
        self.results[key] = result.detach().clone()  # a copy: an in-place ReLU may follow
        return result


def layout_of(first: Tensor | None, second: Tensor | None, pair: Tensor) -> Layout | str | None:
    """Tell a result's layout from its values for two different samples, one at a time and together.

    Returns None where it cannot be told, for example where both ways to fold an axis fit.
    """
    if first is None or second is None or first.shape != second.shape or first.ndim != pair.ndim:
        return None

    def close(one: Tensor, two: Tensor) -> bool:
        # only tells layouts apart; batches of one and of two may be computed by different kernels
        return torch.allclose(one.float(), two.float(), rtol=0, atol=1e-2 * float(one.abs().max()) + 1e-30)

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
        if rows is not None and all(close(single, row) for single, row in zip(singles, rows, strict=True)):
            fitting.append(layout)
    return fitting[0] if len(fitting) == 1 else None


class _Pass(torch.autograd.Function):
    """Join a tensor that no gradient would reach (the first layer's output) to the graph, without a copy."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return None, gradients[0].new_zeros(())


class Capture(Watch):
    """Gather the per-sample gradients of a batch. Parameters must not require gradients (`frozen`).

    Args:
        parameters: name -> parameter, those wanted.
        layouts: of every call, as `layout_of` told.
        samples: the batch's.
        excluded: names that go another way whatever is seen.
        deliver: takes the gradients of a parameter with a single use as soon as they exist, inside the
            backward pass, so that little is kept. All others are in `pending` afterwards.
        scales: also measure the scale of rounding errors.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        layouts: Layouts,
        samples: int,
        excluded: Collection[str],
        deliver: Callable[[str, Gradients], None],
        scales: bool = False,
    ) -> None:
        super().__init__(parameters, layouts)
        self.samples, self.deliver, self.scales = samples, deliver, scales
        self.uncovered = set(excluded)
        self.uses: Counter[str] = Counter()
        self.pending: defaultdict[str, list[Gradients]] = defaultdict(list)
        device = next(iter(parameters.values())).device
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self.leaves: dict[str, Tensor] = {}
        self.parameters = parameters

    def _graph_of(self, tensor: Tensor) -> Tensor:
        tracked = self.tracked.get(id(tensor))
        if tracked is None:
            return tensor.detach()
        if tracked.graph is not None:
            return tracked.graph
        name = tracked.names[0]
        if name not in self.leaves:
            self.leaves[name] = self.parameters[name].detach().requires_grad_()
        return self.leaves[name]

    def derive(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("__"):  # in place
            return self.unknown(func, args, kwargs, used)
        graph = func(*replaced(args, self._graph_of), **replaced(kwargs, self._graph_of))
        names = tuple(dict.fromkeys(name for tracked in used for name in tracked.names))

        def track(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad:  # detached, or not differentiable: no gradient goes this way
                return tensor
            value = tensor.detach()
            self.tracked[id(value)] = Tracked(value, names, tensor)
            return value

        return replaced(graph, track)

    def unknown(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        self.uncovered.update(name for tracked in used for name in tracked.names)
        return func(*args, **kwargs)

    def known(
        self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key
    ) -> Any:
        layout = self.layouts.get(key)
        if not isinstance(layout, Layout):
            return self.unknown(func, args, kwargs, used)
        roles = {
            role: self.tracked[id(tensor)]
            for role, tensor in call.parameters().items()
            if tensor is not None and id(tensor) in self.tracked
        }
        taken = {id(tracked.value) for tracked in roles.values()}
        # a parameter in another place (as the input of a layer) is not what the rule is about
        beside = [tracked for tracked in used if id(tracked.value) not in taken]
        self.uncovered.update(name for tracked in beside for name in tracked.names)
        result: Tensor = func(*args, **kwargs)
        if isinstance(call, RepeatCall):
            result = result.clone()  # a view of the parameter cannot join the graph
        if not result.requires_grad:
            result = _Pass.apply(result, self.anchor)
        for tracked in roles.values():
            for name in tracked.names:
                self.uses[name] += 1
        versions = [tensor._version for tensor in call.saved()]

        def arrived(delta: Tensor) -> None:
            self._receive(call, roles, versions, layout, delta)

        result.register_hook(arrived)
        return result

    def _receive(
        self, call: Call, roles: dict[str, Tracked], versions: list[int], layout: Layout, delta: Tensor
    ) -> None:
        """Turn the gradient of a call's output into per-sample gradients of its parameters."""
        changed = [tensor._version for tensor in call.saved()] != versions
        for role, tracked in roles.items():
            if self.uncovered.issuperset(tracked.names):
                continue
            gradients = None if changed else call.gradients(role, delta, layout, self.samples)
            if gradients is None:
                self.uncovered.update(tracked.names)
                continue
            if self.scales:
                gradients.scale = _scale(call, delta)
            if tracked.graph is None and self.uses[tracked.names[0]] == 1:
                self.deliver(tracked.names[0], gradients)
                continue
            for name in tracked.names:
                self.pending[name].append(
                    gradients
                    if tracked.graph is None
                    else Derived(gradients, tracked.graph, self.leaves[name])
                )


def _scale(call: Call, delta: Tensor) -> float:
    """Return the size that a sum of products with `delta` would have without cancellation, at most."""
    inputs = [float(tensor.float().norm()) for tensor in call.saved() if tensor.is_floating_point()]
    return float(delta.float().norm()) * max([*inputs, delta.numel() ** 0.5])
