"""Where the runs of a sweep lie, and the run of each method, setting and order.

sweep.json  report.html
first-task/order-K-HASH/               first tasks that several runs begin with
choose/LABEL/key=value,.../order-K/    config.yaml  run.json  results.json
final/LABEL/order-K/                   whole runs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mas_triplets.config import RunConfig
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split
from mas_triplets.errors import UserError
from mas_triplets.files import sha256_of_json
from mas_triplets.sweep.grid import Setting, setting_name
from mas_triplets.sweep.jobs import Job, Kind, is_done, lender_of
from mas_triplets.sweep.plan import Candidate, SweepPlan, run_config
from mas_triplets.training.stages import check_training_items, training_items


@dataclass(frozen=True)
class Layout:
    """The runs of a sweep.

    Attributes:
        plan: the sweep.
        out: its folder.
        dataset: of all runs.
        splits: number of an order -> its split.
    """

    plan: SweepPlan
    out: Path
    dataset: PreparedDataset
    splits: Mapping[int, Split]

    def trials(self, candidate: Candidate, setting: Setting) -> list[Job]:
        """Return the runs by which a setting is judged, one an order that settings are chosen on."""
        place = f"choose/{candidate.method.label}/{setting_name(setting)}"
        return [
            self._job("trial", f"{place}/order-{number}", self._config(candidate, setting, number, choosing=True))
            for number in self.plan.choose_orders
        ]

    def finals(self, candidate: Candidate, setting: Setting) -> list[Job]:
        """Return the runs that are reported, one an order."""
        place = f"final/{candidate.method.label}"
        chosen = tuple(candidate.grids)
        return [
            self._job("final", f"{place}/order-{number}", self._config(candidate, setting, number), chosen)
            for number in self.plan.orders
        ]

    def lender(self, job: Job) -> Job | None:
        """Return the run that has yet to learn the first task of a run; None if none has."""
        lender = lender_of(job.config, self.out)
        return None if lender is None or self.done(lender) else lender

    def done(self, job: Job) -> bool:
        """Whether a run is finished: see `is_done`."""
        split = sha256_of_json(self.splits[job.config.seed].to_dict())
        return is_done(job, {"data_fingerprint": self.dataset.fingerprint, "split_fingerprint": split})

    def check(self) -> None:
        """Check, before anything is learnt, that every task can be learnt and judged.

        Raises:
            UserError: a task has no training picture, or none in the part that is judged.
        """
        first = self.plan.candidates[0]
        looked_at = {False: self.plan.orders}
        if any(candidate.chooses for candidate in self.plan.candidates):
            looked_at[True] = self.plan.choose_orders
        for choosing, numbers in looked_at.items():
            for number in numbers:
                config, split = self._config(first, first.settings[0], number, choosing=choosing), self.splits[number]
                items = training_items(config, self.dataset, split)
                check_training_items(config, self.dataset, items, split)
                part = config.evaluation.part
                for task in split.tasks:
                    if not len(items.select((part,), np.array(task.fact_ids))):
                        raise UserError(
                            f"{task.name} of split '{split.name}' has no picture in the part '{part}', by which "
                            f"{'settings are chosen' if choosing else 'methods are judged'}: prepare the data set with "
                            "more pictures there, or make fewer tasks"
                        )

    def _job(self, kind: Kind, name: str, config: RunConfig, chosen: tuple[str, ...] = ()) -> Job:
        lender = lender_of(config, self.out)
        return Job(kind, name, config, self.out / name, None if lender is None else lender.out, chosen)

    def _config(self, candidate: Candidate, setting: Setting, number: int, *, choosing: bool = False) -> RunConfig:
        split = self.splits[number].name
        return run_config(self.plan, candidate.method, setting, number, split, choosing=choosing)
