"""Gathering the per-sample gradients of a batch during its backward pass."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from mas_triplets.lifelong.per_sample.calls import Call, Layout
from mas_triplets.lifelong.per_sample.gradients import Derived, Gradients
from mas_triplets.lifelong.per_sample.tape import Key, Layouts, Tracked, Watch, replaced


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
        parameters, constants, layouts: as for `Watch`; every call's layout as `layout_of` told.
        samples: the batch's.
        excluded: names that go another way whatever is seen.
        deliver: takes the gradients of a parameter with a single use as soon as they exist, inside the
            backward pass, so that little is kept. All others are in `pending` afterwards.
        scales: also measure the scale of rounding errors.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        constants: Iterable[Tensor],
        layouts: Layouts,
        samples: int,
        excluded: Collection[str],
        deliver: Callable[[str, Gradients], None],
        scales: bool = False,
    ) -> None:
        super().__init__(parameters, constants, layouts)
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

    @override
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

    @override
    def unknown(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked]) -> Any:
        self.uncovered.update(name for tracked in used for name in tracked.names)
        return func(*args, **kwargs)

    @override
    def known(self, func: Callable[..., Any], args: Any, kwargs: Any, used: list[Tracked], call: Call, key: Key) -> Any:
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
        result = call.run(func, args, kwargs)
        if not result.requires_grad:
            result = _Pass.apply(result, self.anchor)
        for tracked in roles.values():
            for name in tracked.names:
                self.uses[name] += 1
        versions = [tensor._version for tensor in call.saved()]

        waiting = [call]

        def arrived(delta: Tensor) -> None:
            # the hook lives as long as the graph, but the call's input is not needed any longer
            self._receive(waiting.pop(), roles, versions, layout, delta)

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
                    gradients if tracked.graph is None else Derived(gradients, tracked.graph, self.leaves[name])
                )


def _scale(call: Call, delta: Tensor) -> float:
    """Return the size that a sum of products with `delta` would have without cancellation, at most."""
    inputs = [float(tensor.float().norm()) for tensor in call.saved() if tensor.is_floating_point()]
    return float(delta.float().norm()) * max([*inputs, math.sqrt(delta.numel())])
