"""Which run is next: a first task before the runs that begin with it, trials before final runs, long ones first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mas_triplets.sweep.jobs import Job
from mas_triplets.sweep.workers import Workers

_URGENCY = {"first task": 0, "trial": 1, "final": 2}


class Schedule:
    """The runs that are left. More may be added while others are done."""

    def __init__(self) -> None:
        self._ready: list[Job] = []
        self._lenders: dict[Path, Job] = {}
        self._waiting: dict[Path, list[Job]] = {}  # for the run that lends them their first task
        self._running = 0

    def add(self, job: Job, lender: Job | None = None) -> None:
        """Add a run, and the one that lends it its first task, unless that is there already."""
        if lender is None:
            self._ready.append(job)
            return
        if lender.out not in self._lenders:
            self._lenders[lender.out] = lender
            self._waiting[lender.out] = []
            self._ready.append(lender)
        if lender.out in self._waiting:
            self._waiting[lender.out].append(job)
        else:
            self._ready.append(job)

    def do_all(self, workers: Workers) -> Iterator[tuple[Job, float]]:
        """Do all runs; yield each as it is done, with the seconds it took. What is added meanwhile is done too."""
        while self._ready or self._running:
            while self._ready and workers.idle:
                workers.start(self._take())
                self._running += 1
            job, seconds = workers.wait()
            self._running -= 1
            self._ready += self._waiting.pop(job.out, [])
            yield job, seconds

    def waiting(self) -> list[Job]:
        """Return the runs that are ready or wait for another."""
        return [*self._ready, *(job for jobs in self._waiting.values() for job in jobs)]

    def _take(self) -> Job:
        """Take the most urgent run, of equally urgent ones the longest, of equally long ones the first."""
        place = min(
            range(len(self._ready)), key=lambda place: (_URGENCY[self._ready[place].kind], -self._ready[place].cost)
        )
        return self._ready.pop(place)
