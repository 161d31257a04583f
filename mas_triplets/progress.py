"""Progress with time left, on standard error, so that standard output holds results only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

T = TypeVar("T")
_SHOWN_EVERY = 0.05  # seconds


class Bar:
    """One bar that nobody sees."""

    def show(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""


class Silent:
    """Progress that nobody watches: what library functions use when they are given none."""

    def track(self, items: Iterable[T], what: str, total: int, about: Callable[[], str] | None = None) -> Iterator[T]:
        """Yield the items, of which there are `total`, and show how far it is, and what `about` says meanwhile."""
        del what, total, about
        yield from items

    @contextmanager
    def bar(self, what: str) -> Iterator[Bar]:
        """Give a bar to be set by hand, for work that goes on elsewhere."""
        del what
        yield Bar()

    def note(self, text: str) -> None:
        """Say one line."""


SILENT = Silent()


class Progress(Silent):
    """Bars with time left on a terminal; elsewhere one line when a piece of work ends. Use it in a `with`."""

    _bars: RichProgress

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
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

    def track(self, items: Iterable[T], what: str, total: int, about: Callable[[], str] | None = None) -> Iterator[T]:
        """Yield the items, of which there are `total`, and show how far it is, how much time is left, and `about`."""
        started = shown = time.monotonic()
        task = self._bars.add_task(what, total=total)
        done = 0
        try:
            for item in items:
                yield item
                done += 1
                if (now := time.monotonic()) > shown + _SHOWN_EVERY:  # a bar may not cost more than an item
                    more = about() if about is not None else ""
                    self._bars.update(task, completed=done, description=f"{what}: {more}" if more else what)
                    shown = now
        finally:
            self._bars.remove_task(task)
        self.note(f"{what}: {done:,} in {time.monotonic() - started:.1f} s")

    @contextmanager
    def bar(self, what: str) -> Iterator[Bar]:
        """Give a bar to be set by hand, for work that goes on elsewhere."""
        bar = _RichBar(self, what)
        try:
            yield bar
        finally:
            bar.remove()

    def note(self, text: str) -> None:
        """Say one line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _RichBar(Bar):
    def __init__(self, progress: Progress, what: str) -> None:
        self._progress, self._bars = progress, progress._bars
        self._what = what
        self._task = self._bars.add_task(what, total=None)
        self._started = time.monotonic()

    def show(self, what: str, done: int, total: int) -> None:
        if what != self._what:  # another piece of work begins, and its time left is another
            self._bars.reset(self._task, description=what, total=total)
            self._what, self._started = what, time.monotonic()
        self._bars.update(self._task, completed=done, total=total)
        if done == total:
            self._progress.note(f"{what}: {total:,} in {time.monotonic() - self._started:.1f} s")

    def remove(self) -> None:
        self._bars.remove_task(self._task)
