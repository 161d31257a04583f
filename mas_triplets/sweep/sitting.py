"""One sitting of a sweep: the trials of each method, its choice when they are done, then its final runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mas_triplets.progress import Silent
from mas_triplets.sweep.choice import Numbers, Tried, choose, edge_sentences, edges, numbers_of
from mas_triplets.sweep.grid import Setting
from mas_triplets.sweep.jobs import Job, results_of
from mas_triplets.sweep.layout import Layout
from mas_triplets.sweep.plan import Candidate
from mas_triplets.sweep.schedule import Schedule
from mas_triplets.sweep.summary import setting_text, with_deviation
from mas_triplets.sweep.workers import Workers


@dataclass(frozen=True)
class Choice:
    """What was chosen of a method: the setting, what was tried, and which values lie at the end of their grid."""

    setting: Setting
    tried: tuple[Tried, ...] = ()
    edges: Mapping[str, str] = field(default_factory=dict)


class Sitting:
    """Does what is left of a sweep.

    Args:
        layout: the runs.
        processes: how many are done side by side.
        progress: who is told how far it is.

    Attributes:
        choices: label -> what was chosen, for methods whose trials are all done.
        seconds: name of each run done in this sitting -> the seconds it took.
        left: runs that were to be done when the sitting began, first tasks not counted.
        total: runs of the whole sweep.
    """

    def __init__(self, layout: Layout, processes: int, progress: Silent) -> None:
        self.layout, self._processes, self._progress = layout, processes, progress
        self.choices: dict[str, Choice] = {}
        self.seconds: dict[str, float] = {}
        self._schedule = Schedule()
        self._trials: dict[str, set[str]] = {}  # label -> names of the trials that are not done
        plan = layout.plan
        self.left = self.total = 0
        for candidate in plan.candidates:
            for job in layout.finals(candidate, candidate.settings[0]):
                layout.done(job)  # another run in its place is told before anything is learnt
            trials = self._trials_of(candidate)
            self._trials[candidate.method.label] = self._add(trials)
            self.total += len(trials) + len(plan.orders)
        for candidate in plan.candidates:
            waiting = len(self._trials[candidate.method.label])
            self.left += waiting + len(plan.orders) if waiting else self._settle(candidate)

    def first_jobs(self) -> list[Job]:
        """Return the runs that are known to be left."""
        return self._schedule.waiting()

    def learn(self, workers: Workers) -> None:
        """Do all runs that are left.

        Raises:
            UserError: one failed.
            Stopped: it was asked to stop.
        """
        by_label = {candidate.method.label: candidate for candidate in self.layout.plan.candidates}
        for job in self._progress.track(self._done(workers), "runs", self.left, about=self._lately):
            if job.kind != "trial":
                continue
            label = next(label for label, names in self._trials.items() if job.name in names)
            self._trials[label].discard(job.name)
            if not self._trials[label]:
                self._settle(by_label[label])

    def runs_done(self) -> int:
        """Return how many runs were done in this sitting, first tasks not counted."""
        return sum(not name.startswith("first-task/") for name in self.seconds)

    def final_numbers(self) -> dict[str, dict[int, Numbers]]:
        """Return label -> order -> numbers, of the methods whose final runs are all done."""
        found = {}
        for candidate in self.layout.plan.candidates:
            choice = self.choices.get(candidate.method.label)
            jobs = [] if choice is None else self.layout.finals(candidate, choice.setting)
            if jobs and all(self.layout.done(job) for job in jobs):
                found[candidate.method.label] = {job.config.seed: numbers_of(results_of(job), job.name) for job in jobs}
        return found

    def _done(self, workers: Workers) -> Iterator[Job]:
        self._began = time.monotonic()
        for job, seconds in self._schedule.do_all(workers):
            self.seconds[job.name] = seconds
            if job.kind != "first task":
                yield job

    def _lately(self) -> str:
        """Return the last run and how long the others will take."""
        done = self.runs_done()
        each = (time.monotonic() - self._began) / done
        minutes = each * (self.left - done) / 60
        return f"{next(reversed(self.seconds))}, about {minutes:,.0f} min left"

    def _trials_of(self, candidate: Candidate) -> list[Job]:
        if not candidate.chooses:
            return []
        return [job for setting in candidate.settings for job in self.layout.trials(candidate, setting)]

    def _add(self, jobs: list[Job]) -> set[str]:
        """Add those of the runs that are not done, and return their names."""
        left = [job for job in jobs if not self.layout.done(job)]
        for job in left:
            self._schedule.add(job, self.layout.lender(job))
        return {job.name for job in left}

    def _settle(self, candidate: Candidate) -> int:
        """Choose the setting of a method whose trials are all done, and add its final runs; return how many."""
        label = candidate.method.label
        if not candidate.chooses:
            self.choices[label] = Choice(candidate.settings[0])
        else:
            tried = tuple(
                Tried(
                    setting,
                    tuple(numbers_of(results_of(job), job.name) for job in self.layout.trials(candidate, setting)),
                )
                for setting in candidate.settings
            )
            best = choose(tried)
            choice = Choice(best.setting, tried, edges(best.setting, tried))
            self.choices[label] = choice
            score = with_deviation(best.to_dict()["score"], best.to_dict()["score_sd"])
            self._progress.note(f"{label}: {setting_text(best.setting)} is the best of {len(tried)}, {score} on val")
            for sentence in edge_sentences(best.setting, choice.edges):
                self._progress.note(f"{label}: {sentence}; a better one may lie beyond, widen it with --set-grid")
        return len(self._add(self.layout.finals(candidate, self.choices[label].setting)))
