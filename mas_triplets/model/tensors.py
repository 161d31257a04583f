"""Reading tensors from disk, with a sentence for a file that is absent or damaged."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mas_triplets.errors import UserError


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Read the safetensors file `path`; `what` names its contents for the person who reads the error.

    Raises:
        UserError: the file is absent or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as {what}: {error}; train the run again") from None
    return tensors
