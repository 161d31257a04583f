"""BatchNorm in a batch of one picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def statistics_of(model: nn.Module, batch: Tensor) -> Iterator[None]:
    """Let BatchNorm use its running statistics for a batch of one picture, which has no spread of its own."""
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.training] if len(batch) == 1 else []
    for norm in norms:
        norm.eval()
    yield
    for norm in norms:
        norm.train()
