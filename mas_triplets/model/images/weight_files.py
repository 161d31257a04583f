"""Files of weights: those a person gives, and those that torchvision offers for download."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mas_triplets.errors import UserError
from mas_triplets.model.reachable import reachable

ENDINGS = (".safetensors", ".pth", ".pt")
_HASH = re.compile(r"-([0-9a-f]{8,})\.")
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict; those under `state_dict` or `model`, or named `module.`..., are taken out of their wrapping.

    Raises:
        UserError: the file is absent or damaged, or holds something else than tensors.
    """
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds more than tensors, which is not read since it could run code, or is damaged: save "
            "model.state_dict() instead, best as .safetensors"
        ) from None
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read as weights: {str(error) or type(error).__name__}") from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds no state dict (a name and a tensor each): save model.state_dict()")
    if all(name.startswith("module.") for name in found):
        found = OrderedDict((name.removeprefix("module."), value) for name, value in found.items())
    state: dict[str, Tensor] = found
    return state


def load_state(network: nn.Module, state: dict[str, Tensor], gone: Collection[str], source: str) -> None:
    """Load weights into a network whose parts `gone` were cut off; weights of those, of any size, are left out.

    Raises:
        UserError: others are missing, of another shape, or not known to the network.
    """
    own = network.state_dict()
    named = OrderedDict((_OLD_DENSENET.sub(r"\1\2", name), value) for name, value in state.items())
    given = OrderedDict((name, value) for name, value in named.items() if not _within(name, gone))
    # of what is missing, counters of batches are never used, and old files lack them
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    shapes = [f"{n} {tuple(given[n].shape)}, not {tuple(own[n].shape)}" for n in own if _differ(own[n], given.get(n))]
    for what, names in (("lacks", missing), ("has, unknown to the network,", unexpected), ("has another", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{source} does not fit this network: it {what} {', '.join(names[:3])}{more}; "
                "set model.image.model to the network that the weights are of"
            )
    # the format's version, which some networks look at, is lost where a file is not torch's own
    given._metadata = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]
    network.load_state_dict(given, strict=False)


def _within(name: str, parts: Collection[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _differ(own: Tensor, given: Tensor | None) -> bool:
    return given is not None and own.shape != given.shape


def downloaded(url: str) -> Path:
    """Return the file of weights offered at `url`: from the cache, or downloaded into it.

    Raises:
        UserError: it is not in the cache and cannot be downloaded, or what is in the cache is damaged.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    found = _HASH.search(path.name)
    start = found.group(1) if found else None
    if path.is_file():
        _check(path, start)
        return path
    remedy = (
        f"put {path.name} from another machine into {folder}, or anywhere and set model.image.weights=FILE; "
        "model.image.weights=none takes random ones"
    )
    if not reachable(url):
        raise UserError(f"{path.name} is not in the cache and cannot be downloaded from here: {remedy}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, os.fspath(path), start, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise UserError(f"downloading {path.name} failed ({error}): {remedy}") from None
    return path


def _check(path: Path, start: str | None) -> None:
    if start is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(start):
        raise UserError(
            f"{path} is damaged or half downloaded (its SHA-256 does not begin with {start}): delete it and try again"
        )
