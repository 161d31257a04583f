"""Checkpoints on disk: each a folder of its own, written beside and renamed, the last two kept.

checkpoint/STAGE-STEP-PHASE/ with state.json (where training stands, and the SHA-256 of the tensors) and
tensors.safetensors; by name, they stand in the order in which they were written.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.files import put_in_place, read_json, scratch_folder, sha256_of_file, write_json

KEPT = 2
_TENSORS = "tensors.safetensors"
_NAME = re.compile(r"\d{4,}-\d{8,}-\d")


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, place: tuple[int, int, int], record: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
        """Write a checkpoint, then remove all but the last two; return its folder.

        Args:
            place: stage, step and phase.
            record: plain values.
            tensors: by name.

        Raises:
            UserError: the disk is full, or cannot be written; the checkpoints that are there stay whole.
        """
        path = self.folder / "{:04d}-{:08d}-{}".format(*place)
        try:
            with scratch_folder(path) as scratch:
                save_file(
                    {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, scratch / _TENSORS
                )
                write_json(scratch / "state.json", {**record, "sha256": sha256_of_file(scratch / _TENSORS)})
                _flush(scratch / _TENSORS)
                put_in_place(scratch, path)
        except (OSError, SafetensorError) as error:
            kept = ", ".join(one.name for one in self._all()) or "none"
            raise UserError(
                f"the checkpoint {path} could not be written ({error}); those before are whole ({kept}): make room "
                "there, then run the same command again to go on"
            ) from None
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old)
        return path

    def newest(self, device: str) -> tuple[dict[str, Any], dict[str, Tensor], list[Path]] | None:
        """Read the newest checkpoint that is whole.

        Args:
            device: where the tensors are to be.

        Returns:
            Its record, its tensors, and newer ones that are damaged; None if there is no checkpoint at all.

        Raises:
            UserError: there are some, but none is whole.
        """
        if (self.folder / "state.json").is_file():
            raise UserError(
                f"{self.folder} was written by an earlier version: go on with that one, or start the run again with "
                "--resume never"
            )
        damaged: list[Path] = []
        for path in reversed(self._all()):
            found = _read(path, device)
            if found is not None:
                return *found, damaged
            damaged.append(path)
        if damaged:
            raise UserError(f"{damaged[0]} is damaged, and there is no other: start the run again with --resume never")
        return None

    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._all())

    def last_name(self) -> str:
        """Return the path of the newest, for a sentence."""
        every = self._all()
        return str(every[-1]) if every else "none"

    def _all(self) -> list[Path]:
        """Return the folders, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _read(path: Path, device: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return record and tensors of one checkpoint; None if it is damaged."""
    try:
        record = read_json(path / "state.json", "a checkpoint")
        if not isinstance(record, dict) or record.get("sha256") != sha256_of_file(path / _TENSORS):
            return None
        return record, load_file(path / _TENSORS, device=device)
    except (UserError, OSError, SafetensorError):
        return None


def _flush(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no number is nan or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
