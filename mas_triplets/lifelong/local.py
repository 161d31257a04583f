"""The outputs of every layer, each cut off from the layers before it: what local importance (l-MAS) is measured on.

Aljundi et al., ECCV 2018, section 4.3: the importance of a layer's parameters is how much its own output, after its
activation, moves with them. For y_j = relu(sum_i theta_ij a_i) the gradient of ||y||^2 is 2 a_i y_j, the product of
what fires together (Hebb's rule).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_OF_ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")


def local_outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs (N, numbers) of all layers, side by side, with no gradient from one layer to another.

    A layer is a module with parameters of its own and without layers within; attention counts as one. Its output is
    taken after the activation module that follows it at once, if there is one; an activation that is a function and
    not a module is not seen. The gradient of the squared norm with respect to a layer's parameters is then that of its
    own output alone.

    Args:
        model: any module.
        inputs: (N, ...) what it is fed.
    """
    found: list[Tensor] = []
    last: list[tuple[Tensor, int]] = []  # the last layer's own output, and its version; nothing once an activation came
    handles: list[RemovableHandle] = []

    def cut(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        return tuple(value.detach() if isinstance(value, Tensor) else value for value in given)

    def note(module: nn.Module, given: Any, result: Any) -> None:
        del given
        last.clear()
        if isinstance(module, nn.MultiheadAttention):
            result = result[0] if module.batch_first else result[0].transpose(0, 1)
        if isinstance(result, Tensor) and result.requires_grad:
            last.append((result, result._version))
            found.append(result.clone())  # `out += identity` would bring in the layers before

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        del module
        if last and not (given and given[0] is last[0][0] and given[0]._version == last[0][1]):
            last.clear()

    def replace(module: nn.Module, given: Any, result: Any) -> None:
        del module, given
        if last:
            found[-1] = result.clone()
        last.clear()

    try:
        for module in model.modules():
            parameters = next(module.parameters(recurse=False), None) is not None
            if next(module.children(), None) is not None and not isinstance(module, nn.MultiheadAttention):
                continue
            if parameters:
                handles += [module.register_forward_pre_hook(cut), module.register_forward_hook(note)]
            elif type(module).__module__ in _OF_ACTIVATIONS:
                handles += [module.register_forward_pre_hook(look), module.register_forward_hook(replace)]
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([_by_picture(rows, len(inputs)) for rows in found], dim=1)


def _by_picture(result: Tensor, count: int) -> Tensor:
    """Return the rows (count, numbers) of a layer's output; one for all pictures (of positions) is that of each."""
    if len(result) % count == 0:
        return result.reshape(count, -1)
    return result.reshape(1, -1).expand(count, -1)
