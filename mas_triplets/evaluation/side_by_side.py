"""Training and evaluating several runs side by side: one process each, one thread a process.

Small models gain nothing from a second thread, and threads of two processes that share a core wait for each other;
whole runs side by side use every core. The results are those of the runs one after another, bit for bit.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty
from typing import Any, TypeVar

from mas_triplets.config import RunConfig
from mas_triplets.evaluation.results import Results
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import first_task_is_plain
from mas_triplets.progress import SILENT, Silent
from mas_triplets.training.run import Resume, train
from mas_triplets.training.run_folder import RunFolder

T = TypeVar("T")
_EVERY = 0.2  # seconds between two reports of one process

_KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 26), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}
"""Settings of glibc for a process that trains: else it gives the memory of each step's gradients back and takes it
anew, page by page, which costs 5 to 10% of a small step."""

_reports: Any = None


class _Reporter(Silent):
    """Sends progress to the process that waits: (run, what, done, total)."""

    def __init__(self, name: str) -> None:
        self._name = name

    def track(self, items: Iterable[T], what: str, total: int, about: Callable[[], str] | None = None) -> Iterator[T]:
        del about
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


def _first_task(name: str, config: RunConfig, out: Path, resume: Resume) -> None:
    train(config, out, resume=resume, until=1, progress=_Reporter(name))


def _run(name: str, config: RunConfig, out: Path, resume: Resume, lender: Path | None) -> Results:
    reporter = _Reporter(name)
    first_task = None if lender is None else RunFolder(lender)
    return evaluate(train(config, out, resume=resume, first_task=first_task, progress=reporter), progress=reporter)


def train_side_by_side(
    runs: Mapping[str, tuple[RunConfig, Path]],
    *,
    processes: int,
    resume: Resume = "auto",
    lender: str | None = None,
    progress: Silent = SILENT,
    on_done: Callable[[str], None] = lambda name: None,
) -> dict[str, Results]:
    """Train and evaluate each run in a process of its own, `processes` at a time, and return their results by name.

    Args:
        runs: name -> configuration (its `train.threads` should be 1) and folder; started in this order.
        processes: how many at a time.
        resume: as for `train`.
        lender: the run whose first task is learnt first and serves all runs that would learn it alike (see
            `training.first_task`); None if each learns its own.
        progress: who is told how far each is.
        on_done: called in this process with the name of each run that is done, while others go on.

    Raises:
        UserError: of the first run that fails; runs that have not begun are not started.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit locks of threads it does not have
    reports = context.Queue()
    with ExitStack() as stack:
        stack.enter_context(memory_kept())  # by the processes, which start as work is submitted
        pool = stack.enter_context(
            ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(reports,))
        )
        bars = {name: stack.enter_context(progress.bar(name)) for name in runs}
        done: dict[str, Future[Results]] = {}
        told: set[str] = set()

        def submit(name: str) -> None:
            config, out = runs[name]
            if lender is None or not first_task_is_plain(config.lifelong):
                done[name] = pool.submit(_run, name, config, out, resume, None)
            elif name == lender:
                done[name] = pool.submit(_run, name, config, out, "auto", None)
            else:
                done[name] = pool.submit(_run, name, config, out, resume, runs[lender][1])

        first = pool.submit(_first_task, lender, *runs[lender], resume) if lender is not None else None
        later = [
            name for name, (config, _) in runs.items() if first is not None and first_task_is_plain(config.lifelong)
        ]
        for name in runs:
            if name not in later:
                submit(name)
        try:
            while (later or not all(future.done() for future in done.values())) and not _failed(first, *done.values()):
                if later and first is not None and first.done():
                    for name in later:
                        submit(name)
                    later = []
                for name in [name for name, future in done.items() if future.done() and name not in told]:
                    told.add(name)
                    on_done(name)
                try:
                    name, what, count, total = reports.get(timeout=_EVERY)
                except Empty:
                    continue
                bars[name].show(f"{name}: {what}", count, total)
            wait([future for future in done.values() if future.done() or future.running()])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        failed = _failed(first, *done.values())
        if failed is not None:
            raise failed
        for name in [name for name in runs if name not in told]:
            on_done(name)
        return {name: done[name].result() for name in runs}


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let processes that are started inside the `with` keep memory for the next step; what the user has set stays."""
    added = {name: value for name, value in _KEEPING.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _failed(*futures: Future[Any] | None) -> BaseException | None:
    ended = (future for future in futures if future is not None and future.done() and not future.cancelled())
    return next((error for future in ended if (error := future.exception()) is not None), None)
