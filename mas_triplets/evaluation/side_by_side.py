"""Training and evaluating several runs side by side: one process each, one thread a process.

Small models gain nothing from a second thread, and threads of two processes that share a core wait for each other;
whole runs side by side use every core. The results are those of the runs one after another, bit for bit.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from queue import Empty
from typing import Any, TypeVar

from mas_triplets.config import RunConfig
from mas_triplets.evaluation.results import Results
from mas_triplets.evaluation.run import evaluate
from mas_triplets.progress import SILENT, Silent
from mas_triplets.training.run import Resume, train

T = TypeVar("T")
_EVERY = 0.2  # seconds between two reports of one process

_reports: Any = None


class _Reporter(Silent):
    """Sends progress to the process that waits: (run, what, done, total)."""

    def __init__(self, name: str) -> None:
        self._name = name

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        last = 0.0
        for done, item in enumerate(items):
            if time.monotonic() - last > _EVERY:
                _reports.put((self._name, what, done, total))
                last = time.monotonic()
            yield item
        _reports.put((self._name, what, total, total))


def _start(reports: Any) -> None:
    global _reports
    _reports = reports


def _run(name: str, config: RunConfig, out: Path, resume: Resume) -> Results:
    reporter = _Reporter(name)
    return evaluate(train(config, out, resume=resume, progress=reporter), progress=reporter)


def train_side_by_side(
    runs: Mapping[str, tuple[RunConfig, Path]],
    *,
    processes: int,
    resume: Resume = "auto",
    progress: Silent = SILENT,
    on_done: Callable[[str], None] = lambda name: None,
) -> dict[str, Results]:
    """Train and evaluate each run in a process of its own, `processes` at a time, and return their results by name.

    Args:
        runs: name -> configuration (its `train.threads` should be 1) and folder; started in this order.
        processes: how many at a time.
        resume: as for `train`.
        progress: who is told how far each is.
        on_done: called in this process with the name of each run that is done, while others go on.

    Raises:
        UserError: of the first run that fails; runs that have not begun are not started.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit locks of threads it does not have
    reports = context.Queue()
    with ExitStack() as stack:
        pool = stack.enter_context(
            ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(reports,))
        )
        bars = {name: stack.enter_context(progress.bar(name)) for name in runs}
        waiting = {name: pool.submit(_run, name, config, out, resume) for name, (config, out) in runs.items()}
        told: set[str] = set()
        try:
            while not all(future.done() for future in waiting.values()) and not _failed(waiting.values()):
                for name in [name for name, future in waiting.items() if future.done() and name not in told]:
                    told.add(name)
                    on_done(name)
                try:
                    name, what, done, total = reports.get(timeout=_EVERY)
                except Empty:
                    continue
                bars[name].show(f"{name}: {what}", done, total)
            wait([future for future in waiting.values() if future.done() or future.running()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        failed = _failed(waiting.values())
        if failed is not None:
            raise failed
        for name in [name for name in waiting if name not in told]:
            on_done(name)
        return {name: future.result() for name, future in waiting.items()}


def _failed(futures: Iterable[Future[Results]]) -> BaseException | None:
    return next((e for f in futures if f.done() and not f.cancelled() and (e := f.exception()) is not None), None)
