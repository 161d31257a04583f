"""The outputs of every layer, each cut off from the layers before it: what local importance (l-MAS) is measured on.

Aljundi et al., ECCV 2018, section 4.3: the importance of a layer's parameters is how much its own output, after its
activation, moves with them. For y_j = relu(sum_i theta_ij a_i) the gradient of ||y||^2 is 2 a_i y_j, the product of
what fires together (Hebb's rule).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.ELU,
)


def local_outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs (N, numbers) of all layers, side by side, with no gradient from one layer to another.

    A layer is a module with parameters of its own and without layers within. Its output is taken after the activation
    module that follows it at once, if there is one; an activation that is a function and not a module is not seen.
    The gradient of the squared norm with respect to a layer's parameters is then that of its own output alone.

    Args:
        model: any module.
        inputs: (N, ...) what it is fed.
    """
    found: list[Tensor] = []
    handles = []

    def cut(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        return tuple(value.detach() if isinstance(value, Tensor) else value for value in given)

    def note(module: nn.Module, given: Any, result: Any) -> None:
        del module, given
        if isinstance(result, Tensor) and result.requires_grad:
            found.append(result)

    def replace(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        del module
        if found and given and given[0] is found[-1]:
            found[-1] = result

    try:
        for module in model.modules():
            if isinstance(module, _ACTIVATIONS):
                handles.append(module.register_forward_hook(replace))
            elif next(module.parameters(recurse=False), None) is not None and next(module.children(), None) is None:
                handles += [module.register_forward_pre_hook(cut), module.register_forward_hook(note)]
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([rows.reshape(len(inputs), -1) for rows in found], dim=1)
