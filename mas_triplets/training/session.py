"""Learning the stages of a run one after another: what is logged, when a checkpoint is written, how it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from mas_triplets.errors import Stopped, UserError
from mas_triplets.lifelong import Task
from mas_triplets.progress import Silent
from mas_triplets.training.checkpoints import Checkpoints
from mas_triplets.training.fit import Learner, StageFit, planned_steps
from mas_triplets.training.interruption import Interruption
from mas_triplets.training.log import RunLog
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.stages import StageData, task_of
from mas_triplets.training.state import DONE, LEARNING, LEARNT, TrainingState

_LIVELY = 0.5  # seconds between two looks at the loss for the progress line


@dataclass
class Session:
    """One sitting of a run, from where it stands to its end or to when it is stopped.

    Attributes:
        run: where it is written.
        state: where it stands.
        data: what each stage learns from.
        learner: loss, inputs, processes.
        log: of the run.
        checkpoints: of the run.
        interruption: tells when to stop.
        progress: who is told how far it is.
    """

    run: RunFolder
    state: TrainingState
    data: list[StageData]
    learner: Learner
    log: RunLog
    checkpoints: Checkpoints
    interruption: Interruption
    progress: Silent
    line: str = ""
    _saved: float = field(default_factory=time.monotonic)

    def learn(self) -> None:
        """Learn what is left of all stages.

        Raises:
            UserError: the loss has exploded, or the disk is full; the last good checkpoint is named.
            Stopped: the run was asked to stop; a checkpoint is written.
        """
        state, train = self.state, self.learner.config.train
        plan = [planned_steps(part, stage, state.strategy, train) for stage, part in enumerate(self.data, 1)]
        begun = state.stage if state.phase == DONE else state.stage - 1
        left = sum(plan[begun:]) - (0 if state.phase == DONE else state.step)
        work = self._stages(left)
        what = f"training {self.learner.config.lifelong.strategy}"
        for _ in self.progress.track(work, what, left, about=lambda: self.line):
            pass

    def _stages(self, left: int) -> Iterator[None]:
        state = self.state
        self.report_unreadable()
        while state.phase != DONE or state.stage < len(self.data):
            if state.phase == DONE:
                state.stage, state.phase, state.step, state.first_loss = state.stage + 1, LEARNING, 0, None
            data = self.data[state.stage - 1]
            if state.phase == LEARNING:
                if state.step == 0:
                    state.strategy.before_task(state.model, self._task(data))
                for _ in self._fit(data, left):
                    left -= 1
                    yield
                state.phase = LEARNT
                self.save()
            self.finish_stage(data)

    def finish_stage(self, data: StageData) -> None:
        """Measure what the method needs of a stage whose steps are taken, and write the stage."""
        state, processes = self.state, self.learner.processes
        state.model.eval()  # also where it goes on from a checkpoint
        if self.learner.config.lifelong.boundaries == "tasks" or state.steps == self.learner.planned:
            state.strategy.after_last_step(state.model)  # of the task, or of the whole stream
        about = state.strategy.after_task(state.model, self._task(data))
        self.report_unreadable()
        state.phase = DONE
        if processes.main:
            strategy = state.strategy
            self.run.write_stage(state.stage, state.model, strategy.importance(), about, strategy.fact_vectors())
        self.save()
        processes.wait()

    def _task(self, data: StageData) -> Task:
        learner = self.learner
        return task_of(data, self.state.stage, learner.config.loss, learner.inputs, learner.processes, self.progress)

    def save(self) -> None:
        """Write a checkpoint."""
        self.state.log_bytes = self.log.length
        if self.learner.processes.main:
            self.state.save(self.checkpoints)
        self._saved = time.monotonic()

    def _fit(self, data: StageData, left: int) -> Iterator[None]:
        state, train = self.state, self.learner.config.train
        fit = StageFit(self.learner, data, state)
        clock = _Clock(left)
        self.interruption.patient = True
        try:
            for rate in fit.steps():
                clock.tick(len(data.items), train.batch_size, fit.per_epoch, state.step)
                ended = state.step % fit.per_epoch == 0
                if ended or state.steps % train.log_steps == 0:
                    fit.check()
                    self._log(fit, rate, clock, ended)
                elif clock.lively():
                    fit.check()
                    self._describe(fit)
                asked, due = self.learner.processes.any(self.interruption.asked, self._due())
                if asked or due:
                    fit.capture()
                    self.save()
                if asked:
                    raise Stopped(
                        f"stopped after step {state.step} of task {state.stage}, with a checkpoint in "
                        f"{self.checkpoints.folder}: the same command goes on from there, to the same bits"
                    )
                yield
        except UserError as error:
            last = self.checkpoints.last_name()
            raise UserError(
                f"{error}. Finished tasks are kept, the last good checkpoint is {last}; with other settings start anew "
                "(--resume never, or another --out)"
            ) from None
        finally:
            self.interruption.patient = False
        if self.interruption.asked:  # within the last step's bookkeeping
            self.interruption.asked = False
            raise KeyboardInterrupt

    def _due(self) -> bool:
        train = self.learner.config.train
        if train.checkpoint_steps is not None and self.state.steps % train.checkpoint_steps == 0:
            return True
        minutes = train.checkpoint_minutes
        return minutes is not None and time.monotonic() - self._saved > 60 * minutes

    def _log(self, fit: StageFit, rate: float, clock: _Clock, ended: bool) -> None:
        state = self.state
        penalty = state.strategy.penalty(state.model)
        if not math.isfinite(penalty):
            raise UserError(
                f"the penalty is {penalty} at step {state.step} of task {state.stage}: lower train.learning_rate, or "
                "lifelong.strength"
            )
        epochs = {"epoch": state.step // fit.per_epoch} if ended else {"epochs": round(state.step / fit.per_epoch, 4)}
        record = {
            "task": state.stage,
            **epochs,
            "loss": state.loss_sum / max(1, state.loss_count),
            "penalty": penalty,
            "learning_rate": rate,
            **clock.speeds(),
        }
        self._describe(fit)
        self.log.add(state.steps, record)
        if ended:
            self.report_unreadable()

    def _describe(self, fit: StageFit) -> None:
        state = self.state
        self.line = (
            f"task {state.stage} of {len(self.data)}, epoch {(state.step - 1) // fit.per_epoch + 1}, "
            f"loss {state.loss_sum / max(1, state.loss_count):.4g}"
        )

    def report_unreadable(self) -> None:
        """Name the pictures that any process found to be unreadable since the last time, in the log and to who watches.

        Raises:
            UserError: there are more than `data.max_unreadable` in all.
        """
        told = self.state.unreadable
        found: dict[str, str] = {}
        for of_one in self.learner.processes.gather_objects(self.learner.inputs.unreadable):
            found |= {str(image): reason for image, reason in of_one.items() if str(image) not in told}
        for image in sorted(found, key=int):
            told[image] = found[image]
            self.log.add(self.state.steps, {"unreadable": len(told), "reason": found[image]})
            self.progress.note(f"left out, {len(told)} so far: {found[image]}")
        most = self.learner.config.data.max_unreadable
        if len(told) > most:
            first = next(iter(told.values()))
            raise UserError(f"more than {most} pictures cannot be read (data.max_unreadable); the first: {first}")


class _Clock:
    """How fast it goes, and how long it will take."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._began = self._since = self._looked = time.monotonic()
        self._steps = 0
        self._pictures = 0

    def tick(self, items: int, size: int, per_epoch: int, step: int) -> None:
        """Count a step."""
        self._steps += 1
        self._pictures += size if step % per_epoch else items - size * (per_epoch - 1)

    def lively(self) -> bool:
        """Whether the progress line should be told something again."""
        if time.monotonic() - self._looked < _LIVELY:
            return False
        self._looked = time.monotonic()
        return True

    def speeds(self) -> dict[str, float]:
        """Return pictures a second since the last time, and the seconds that the steps left will take."""
        now = time.monotonic()
        speed = self._pictures / max(1e-9, now - self._since)
        left = (self._left - self._steps) * (now - self._began) / self._steps
        self._since, self._pictures = now, 0
        return {"images_per_second": round(speed, 1), "seconds_left": round(left, 1)}
