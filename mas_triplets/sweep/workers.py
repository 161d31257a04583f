"""Processes that do runs, each many one after another: starting one costs as much as a small run.

Ctrl-C is heard by the process that waits alone; it then asks the others, each of which writes a checkpoint and stops.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any, Self

from mas_triplets.errors import Stopped, UserError
from mas_triplets.evaluation.side_by_side import memory_kept
from mas_triplets.sweep.jobs import Job, perform

_PATIENCE = 120.0  # seconds in which a process that is asked to stop writes its checkpoint

_busy = False
_asked_to_stop = False


class Workers:
    """Does one run at a time, in this process. Use it in a `with`."""

    def __init__(self) -> None:
        self._job: Job | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""

    @property
    def idle(self) -> bool:
        """Whether a run can be started."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Take a run to do."""
        self._job = job

    def wait(self) -> tuple[Job, float]:
        """Return a run that is done and the seconds it took.

        Raises:
            UserError: it failed; the sentence begins with its name.
        """
        job = self._job
        assert job is not None
        self._job = None
        try:
            return job, perform(job)
        except UserError as error:
            raise _failed(job, str(error)) from None


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None
    ready: bool = False  # to be interrupted: before that it has nothing to lose


class ProcessWorkers(Workers):
    """Does several runs at a time, each in one of `processes` processes, which are started as they are needed."""

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._wanted = processes
        self._all: list[_Worker] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; those that are at work are asked to stop first."""
        for worker in self._all:
            if not worker.ready and not worker.connection.poll():
                worker.process.kill()
            elif worker.job is not None and worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)
        try:
            for worker in self._all:
                with suppress(OSError):
                    worker.connection.send(None)
                worker.process.join(_PATIENCE)
        finally:
            for worker in self._all:
                worker.process.kill()
                worker.process.join()
                worker.connection.close()

    @property
    def idle(self) -> bool:
        """Whether a run can be started."""
        return len(self._all) < self._wanted or any(worker.job is None for worker in self._all)

    def start(self, job: Job) -> None:
        """Give a run to a process without one."""
        worker = next((worker for worker in self._all if worker.job is None), None)
        if worker is None:
            worker = _begin()
            self._all.append(worker)
        worker.job = job
        worker.connection.send(job)

    def wait(self) -> tuple[Job, float]:
        """Wait until a run is done: see `Workers`."""
        while True:
            working = {worker.connection: worker for worker in self._all if worker.job is not None}
            worker = next(working[one] for one in wait(list(working)) if isinstance(one, Connection))
            job = worker.job
            assert job is not None
            try:
                kind, found = worker.connection.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                raise UserError(
                    f"{job.name}: its process ended ({worker.process.exitcode}), maybe for want of memory: start the "
                    "sweep again with fewer --processes, it goes on from there"
                ) from None
            if kind != "ready":
                break
            worker.ready = True
        worker.job = None
        if kind == "done":
            return job, found
        if kind == "wrong":
            raise _failed(job, found)
        if kind == "stopped":
            raise Stopped(f"{job.name}: {found}")
        raise RuntimeError(f"{job.name} failed in its process:\n{found}")


def _failed(job: Job, sentence: str) -> UserError:
    return UserError(f"{job.name}: {sentence}")


def _begin() -> _Worker:
    context = multiprocessing.get_context("spawn")  # a forked process would inherit locks of threads it does not have
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,))  # no daemon, which could not start others to decode
    with memory_kept(), _unheard_interrupts():
        process.start()
    theirs.close()
    return _Worker(process, mine)


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Let a process that starts inside the `with` ignore Ctrl-C until it has learnt what to do then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection) -> None:
    """Do runs until there are no more, or whoever gave them is gone."""
    global _busy
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a terminal's Ctrl-C goes to whoever waits, who passes it on once
    signal.signal(signal.SIGINT, _interrupted)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with suppress(EOFError, OSError):
        connection.send(("ready", None))
        while (job := connection.recv()) is not None and not _asked_to_stop:
            answer: tuple[str, Any]
            try:
                _busy = True
                answer = "done", perform(job)
            except UserError as error:
                answer = "wrong", str(error)
            except (Stopped, KeyboardInterrupt) as stopped:
                answer = "stopped", str(stopped)
            except Exception:
                answer = "bug", traceback.format_exc()
            finally:
                _busy = False
            connection.send(answer)


def _end_with(giver: BaseProcess | None) -> None:
    """End at once when whoever gives the runs was killed: a sweep started again would train into the same folders."""
    if giver is not None:
        giver.join()
        os._exit(1)  # a run may end at any moment and goes on from its last checkpoint


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End the run that is being done, if there is one, and take no other."""
    global _asked_to_stop
    del number, frame
    _asked_to_stop = True
    if _busy:
        raise KeyboardInterrupt
