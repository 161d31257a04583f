"""The log of a run: one JSON object a line in log.jsonl, and the same numbers for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mas_triplets.files import to_json


class RunLog:
    """Appends records to log.jsonl and their numbers to tensorboard/. Use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._lines = (folder / "log.jsonl").open("a", encoding="utf-8", newline="\n")
        self._board = SummaryWriter(str(folder / "tensorboard"))
        self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._board.close()

    def add(self, step: int, record: dict[str, Any]) -> None:
        """Write one record; `step` counts epochs over the whole run."""
        self._lines.write(to_json({"step": step, **record}, indent=None) + "\n")
        self._lines.flush()
        for name, value in record.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"train/{name}", value, step)
