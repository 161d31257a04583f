"""The log of a run: one JSON object a line in log.jsonl, and the same numbers for TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from mas_triplets.files import to_json


class RunLog:
    """Appends records to log.jsonl and their numbers to tensorboard/. Use it in a `with`.

    Args:
        folder: the run's.
        length: bytes of log.jsonl that are kept: what was logged after the checkpoint one goes on from is logged again.
        step: the step of that checkpoint; what TensorBoard has of later ones is dropped.
        write: false for a process that only goes along; nothing is written then.
    """

    def __init__(self, folder: Path, length: int = 0, step: int = 0, *, write: bool = True) -> None:
        self._lines: BinaryIO | None = None
        if not write:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        path = folder / "log.jsonl"
        path.touch()
        if path.stat().st_size > length:
            os.truncate(path, length)
        self._lines = path.open("ab")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.close()
            self._board.close()

    @property
    def length(self) -> int:
        """Bytes written so far."""
        return 0 if self._lines is None else self._lines.tell()

    def add(self, step: int, record: dict[str, Any]) -> None:
        """Write one record; `step` counts the optimiser's steps of the whole run."""
        if self._lines is None:
            return
        self._lines.write((to_json({"step": step, **record}, indent=None) + "\n").encode())
        self._lines.flush()
        for name, value in record.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(f"train/{name}", value, step)
