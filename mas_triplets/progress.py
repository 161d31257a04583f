"""Progress with time left, on standard error, so that standard output holds results only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

T = TypeVar("T")


class Silent:
    """Progress that nobody watches: what library functions use when they are given none."""

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Yield the items."""
        del what, total
        yield from items

    def note(self, text: str) -> None:
        """Say one line."""


SILENT = Silent()


class Progress(Silent):
    """Bars with time left on a terminal; elsewhere one line when a piece of work ends. Use it in a `with`."""

    _bars: RichProgress

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Yield the items, of which there are `total`, and show how far it is and how much time is left."""
        started = time.monotonic()
        task = self._bars.add_task(what, total=total)
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._bars.remove_task(task)
        self.note(f"{what}: {total:,} in {time.monotonic() - started:.1f} s")

    def note(self, text: str) -> None:
        """Say one line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)
