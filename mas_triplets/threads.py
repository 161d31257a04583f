"""How many threads PyTorch works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limited_threads(wanted: int | None) -> Iterator[None]:
    """Work with `wanted` threads of PyTorch inside the `with`, or with as many as before if it is None.

    Processes side by side should have no more threads together than there are processors: threads that wait for one
    another by spinning keep each other from working.
    """
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
