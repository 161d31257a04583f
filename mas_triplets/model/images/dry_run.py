"""Running a network without computing anything, to learn the shapes it gives and the layers it calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mas_triplets.errors import UserError

Shape = tuple[int, ...]
_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError)  # what networks raise for a size they cannot take


def dry_run(chain: nn.Sequential, size: int, about: str) -> tuple[list[Shape], set[str]]:
    """Return the shape of what each block gives for one picture, and the names of the modules that are called.

    A layer that is used without being called (its weights handed to a function) has no name in the second.

    Args:
        chain: blocks, each called with what the one before gave.
        size: side of a picture in pixels.
        about: what the network is, for messages.

    Raises:
        UserError: the network cannot take a picture of this size.
    """
    names = {module: name for name, module in chain.named_modules()}
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: called.add(names[module]))
        for module in names
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    try:
        try:
            shapes = _shapes(chain, size, "meta")
        except _REFUSALS:  # there are operations that need numbers; and if not, they tell the reason better
            shapes = _shapes(chain, size, "cpu")
    except _REFUSALS as error:
        raise UserError(
            f"{about} cannot take pictures of {size} x {size} pixels ({error}): set another model.image.size"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    return shapes, called


def _shapes(chain: nn.Sequential, size: int, device: str) -> list[Shape]:
    values = torch.zeros(1, 3, size, size, device=device)
    shapes: list[Shape] = []
    with torch.no_grad():
        for block in chain:
            tensors = {name: _on(tensor, device) for name, tensor in _tensors(block)}
            values = torch.func.functional_call(block, tensors, (values,))
            shapes.append(tuple(values.shape[1:]))
    return shapes


def _tensors(block: nn.Module) -> list[tuple[str, Tensor]]:
    return [*block.named_parameters(), *block.named_buffers()]


def _on(tensor: Tensor, device: str) -> Tensor:
    return torch.empty_like(tensor, device=device) if device == "meta" else tensor
