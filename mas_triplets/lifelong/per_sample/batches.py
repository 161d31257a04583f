"""What a batch is, and how samples are cut out of it.

A batch is a tensor, or a tuple, list or dictionary with tensors in it. The first tensor found is the input, and its
first axis counts the samples. Every other tensor, or list of plain values, with as many entries on its first axis is
cut along with it; everything else is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.errors import UserError

Batch = Any  # a tensor, or tuples, lists and dictionaries of tensors
Output = Callable[[nn.Module, Batch], Tensor]


def map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return the batch with `change` applied to every tensor in it, containers kept (namedtuples too)."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(value, change) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map_tensors(value, change) for value in batch)
    return batch


def tensors_in(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch, first to last."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(batch, note)
    return found


def input_of(batch: Batch) -> Tensor:
    """Return the batch's first tensor, whose first axis counts the samples."""
    tensors = tensors_in(batch)
    if not tensors or tensors[0].ndim == 0:
        raise UserError(
            f"a batch must be a tensor, or a tuple whose first item is one, with the samples on the first axis; "
            f"got {type(batch).__name__}"
        )
    return tensors[0]


def size_of(batch: Batch) -> int:
    """Return the number of samples in a batch."""
    return input_of(batch).shape[0]


def select(batch: Batch, samples: slice | list[int]) -> Batch:
    """Return the batch with these samples only, e.g. `select((x, y), slice(0, 2))` is `(x[:2], y[:2])`."""
    size = size_of(batch)

    def cut(part: Batch) -> Batch:
        if isinstance(part, Tensor):
            return part[samples] if part.ndim and part.shape[0] == size else part
        if isinstance(part, Mapping):
            return {key: cut(value) for key, value in part.items()}
        if isinstance(part, tuple) and hasattr(part, "_fields"):
            return type(part)(*(cut(value) for value in part))
        if isinstance(part, tuple):
            return tuple(cut(value) for value in part)
        if isinstance(part, list):
            if len(part) == size and not any(isinstance(value, Tensor) for value in part):
                return part[samples] if isinstance(samples, slice) else [part[index] for index in samples]
            return [cut(value) for value in part]
        return part

    return cut(batch)


def two_different(batch: Batch) -> list[int]:
    """Return the indices of the first sample and of the first one that differs from it (or of the first two)."""
    first = input_of(batch)
    differs = (first != first[:1]).reshape(first.shape[0], -1).any(dim=1)
    return [0, int(differs.int().argmax()) or 1] if first.shape[0] > 1 else [0]


def prepared(batches: Iterable[Batch], device: torch.device, max_samples: int | None) -> Iterator[Batch]:
    """Yield the batches on the model's device, cut so that exactly `max_samples` samples come in all.

    Empty batches are left out. Tensors made under `torch.inference_mode` are copied, since autograd refuses them.
    """
    if max_samples is not None and max_samples < 1:
        raise UserError(f"max_samples must be at least 1, not {max_samples}")

    def move(tensor: Tensor) -> Tensor:
        moved = tensor.detach().to(device, non_blocking=True)
        return moved.clone() if moved.is_inference() else moved

    left = max_samples
    for batch in batches:
        size = size_of(batch)
        if size == 0:
            continue
        if left is not None and size > left:
            batch, size = select(batch, slice(0, left)), left
        yield map_tensors(batch, move)
        if left is not None:
            left -= size
            if left == 0:
                return


def call_model(model: nn.Module, batch: Batch) -> Any:
    """Return the model's output for the batch's first item: what is used where no `output` is given."""
    if isinstance(batch, Mapping):
        raise UserError("a batch that is a dictionary needs output=..., a function of (model, batch)")
    return model(batch if isinstance(batch, Tensor) else batch[0])


def checked(output: Output | None) -> Output:
    """Return `output` (default: call the model) with a check that it gives one row of numbers a sample."""
    given = output or call_model

    def run(model: nn.Module, batch: Batch) -> Tensor:
        result = given(model, batch)
        if not isinstance(result, Tensor) or not result.is_floating_point():
            raise UserError(
                f"the model's output must be one floating-point tensor (batch, features), not "
                f"{result.dtype if isinstance(result, Tensor) else type(result).__name__}; "
                f"pass output=..., a function of (model, batch) that returns it"
            )
        if result.ndim == 0 or result.shape[0] != size_of(batch):
            raise UserError(
                f"the model's output has shape {tuple(result.shape)} for {size_of(batch)} samples; its first axis "
                f"must be the samples: pass output=..., a function of (model, batch) that returns (batch, features)"
            )
        return result

    return run
