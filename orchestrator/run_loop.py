"""The loop of a run: admit groups, step the learner, publish its weights, evaluate them.

    admission --prompts--> rollout workers --rollouts--> reward workers --trajectories--> learner
                           rollout workers <------------------ weights ------------------ learner

Workers complete and score groups beside this loop; records get from one to the next through Redis Streams.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from common.config import Config
from common.disk import DiskError
from common.errors import RunFailedError
from common.streams import StreamError
from learner.checkpoints import CheckpointError, kept_line, saved_line
from learner.divergence import check_metrics
from learner.learner_loop import StepReport
from orchestrator.admission import Admission
from orchestrator.fleet.fleet import Fleet
from orchestrator.fleet.rank_group import LEAVING_NOTE, LearnerDiedError
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.recorder import Recorder
from orchestrator.recovery import Recovery
from orchestrator.side_evaluation import SideEvaluation

#: Kubernetes kills a process that takes half a minute to end.
_LAST_EVALUATION_SECONDS = 15.0


@dataclass
class RunLoop:
    """Drive one run to its last step."""

    config: Config
    fleet: Fleet
    admission: Admission
    evaluation: SideEvaluation
    recovery: Recovery
    recorder: Recorder
    stop: StopRequest
    tick_seconds: float = 0.2
    _step_began: float = field(default=0.0, init=False)
    _unrecorded: StepReport | None = field(default=None, init=False)

    def run(self) -> None:
        """Train to the last step.

        A request to stop (a signal, or a pod of the learner that is about to be taken away), a Redis that cannot
        be used, or records that cannot be written, leave all that was trained in a checkpoint, where that can be
        written. Raises Interrupted, TooManyRestartsError,
        RunDeadlineError, StreamError, DivergedError, CheckpointError or DiskError.
        """
        self.recovery.while_away(self._poll_fleet)
        try:
            self._train()
        except (Interrupted, StreamError, DiskError):
            self.stop.answer()
            self.recovery.wait_no_more()
            self._save()
            raise

    def _train(self) -> None:
        learner, steps = self.fleet.learner, self.config.run.total_steps
        try:
            self.evaluation.evaluator.clear()
            self.recovery.begin()
            self._publish()
        except LearnerDiedError as error:
            self._restart_learner(error)
        self.recorder.phase("training")
        while True:
            try:
                if learner.version >= steps:
                    learner.checkpoint()
                self._evaluate()
                if learner.version >= steps:
                    if self.evaluation.version is not None:
                        self.fleet.turns.to_rollout_workers()
                    self._await_evaluation()
                    self.fleet.turns.to_learner()
                    self._tell([])
                    return
                self._step()
            except LearnerDiedError as error:
                self._restart_learner(error)

    def _step(self) -> None:
        """Do one learner step, publish its weights and record it; groups are completed and scored meanwhile."""
        learner = self.fleet.learner
        # A checkpoint is written before a step, when metrics.jsonl has all the steps that it holds.
        checkpoint = learner.version % self.config.learner.checkpoint_steps == 0
        if checkpoint and self.evaluation.version != learner.version:
            self._await_evaluation()  # of an earlier version, to which a run that resumes here will not come again
        if self._is_starved:
            self._await_evaluation()  # or the learner would wait for it, against the deadline of the step
        self._step_began = time.monotonic()
        if self.fleet.turns.shared:
            self._collect(checkpoint)
            checkpoint = False
        learner.begin_step(checkpoint)
        report = None
        while report is None:
            self._admit()
            self._poll()
            report = learner.poll_step(self.tick_seconds)
        self._unrecorded = report
        self._record(report, weights_seconds=self._publish())

    def _collect(self, checkpoint: bool) -> None:
        """Give rollout workers the devices that they share with the learner, until it has the groups of a step.

        An evaluation beside it ends before the learner has the devices again.
        """
        learner, turns = self.fleet.learner, self.fleet.turns
        if checkpoint:
            learner.checkpoint()
        turns.to_rollout_workers()
        learner.begin_collecting()
        collected = False
        while not collected:
            self._admit()
            self._poll()
            collected = learner.poll_collecting(self.tick_seconds)
        self._await_evaluation()
        turns.to_learner()

    def _evaluate(self) -> None:
        """Begin to evaluate the current weights, if it is time for that; training goes on meanwhile."""
        version = self.fleet.learner.version
        if self.evaluation.is_due(version):
            if self.evaluation.version != version:
                self._await_evaluation()
            self._admit()  # before the tasks: rollout workers serve in this order
            self.evaluation.begin(version)

    def _admit(self) -> None:
        """Admit groups for weights that rollout workers may hold now: none is to wait with one for others."""
        held = self.evaluation.version
        self.admission.admit(self.fleet.learner.version if held is None else held)

    @property
    def _is_starved(self) -> bool:
        """Whether groups for the next step are admitted only once the evaluation under way has ended."""
        held, allowed = self.evaluation.version, self.config.admission.max_staleness
        return held is not None and self.fleet.learner.version > held + allowed

    def _await_evaluation(self, seconds: float = math.inf) -> None:
        """Wait for the evaluation under way, if there is one."""
        end = time.monotonic() + seconds
        while self.evaluation.version is not None and time.monotonic() < end:
            self._poll()
            time.sleep(self.tick_seconds)

    def _await_evaluation_of_lost_weights(self) -> None:
        """Wait for the evaluation under way of weights that the learner had before it was restarted.

        They are newer than those that are published next. Only workers have them now: once none does, that of a
        worker that died at the same time perhaps, or that had not loaded them yet, nobody will do its tasks.
        """
        while self.evaluation.version is not None:
            self._poll()
            if self.evaluation.version is not None and not self.fleet.has_weights:
                self.recorder.note(
                    f"no worker has the weights of step {self.evaluation.version} any more; they "
                    "are evaluated again"
                )
                self.evaluation.give_up()
            time.sleep(self.tick_seconds)

    def _publish(self) -> float:
        """Get the learner's weights into all rollout workers; return the seconds it took."""
        started = time.monotonic()
        self._tell(self.fleet.publish())
        return time.monotonic() - started

    def _poll(self) -> None:
        """Keep the workers and the records of the run up to date. Raises Interrupted."""
        if self.fleet.learner.leaving:
            self.recorder.note(f"{LEAVING_NOTE}: the run stops with a checkpoint")
            self.stop.request(signal.SIGTERM)
        self.stop.check()
        self._poll_fleet()
        self.recovery.check()
        self.evaluation.poll()

    def _poll_fleet(self) -> None:
        self._tell(self.fleet.poll())
        self.recorder.poll()

    def _tell(self, notes: Sequence[str]) -> None:
        """Show what happened to the fleet, and what its workers have verified."""
        for note in notes:
            self.recorder.note(note)
        if notes:
            self.recovery.explain()
        for found in self.fleet.verified():
            self.recorder.verified(found)
        ended, failures = self.fleet.turns.take_ended()
        for turn in ended:
            self.recorder.turn(turn)
        if failures:
            self._tell(failures)

    def _record(self, report: StepReport, weights_seconds: float) -> None:
        step_seconds = time.monotonic() - self._step_began
        self.admission.step_ended(report, step_seconds)
        ledger = self.admission.ledger(report.progress)
        self.recorder.step(report, step_seconds, weights_seconds, ledger, self.fleet.metrics())
        self._unrecorded = None
        checkpoints, optimizer = self.config.folder / "checkpoints", self.config.learner.optimizer
        check_metrics(report.metrics, ("policy/loss", "optim/grad_norm"), report.version, checkpoints, optimizer)

    def _restart_learner(self, error: LearnerDiedError) -> None:
        """Restart the learner from its last checkpoint; the groups consumed since are delivered to it again."""
        self._unrecorded = None
        while True:
            try:
                self.recovery.explain()
                self.fleet.turns.to_new_learner()
                self.recorder.note(self.fleet.learner.restart(str(error), self.recovery.tend))
                self.recorder.rewind(self.fleet.learner.version)
                self.recovery.learner_restarted()
                self._await_evaluation_of_lost_weights()
                self._publish()
            except LearnerDiedError as again:
                error = again
            else:
                return

    def _end_evaluation(self, seconds: float) -> None:
        """Give the evaluation of an earlier version, to which a resumed run will not come again, time to end."""
        version = self.evaluation.version
        if version not in (None, self.fleet.learner.version):
            with suppress(StreamError, RunFailedError):
                self._await_evaluation(seconds)
            if self.evaluation.version is not None:
                self.recorder.note(f"the evaluation of step {version} was not done, and is not recorded")

    def _save(self) -> None:
        """Write a checkpoint of all steps that were trained, each of them recorded."""
        self.recorder.phase("writing a checkpoint; a second signal ends the run at once")
        learner = self.fleet.learner
        try:
            if self._unrecorded is not None:
                self.recorder.rewind(self._unrecorded.version - 1)  # a part of it may have been written
            dismissed = self.fleet.turns.end()
            for report in (self._unrecorded, learner.interrupt()):
                if report is not None:
                    self._record(report, weights_seconds=0.0)
            self._end_evaluation(0.0 if dismissed else _LAST_EVALUATION_SECONDS)
            learner.checkpoint()
        except (LearnerDiedError, CheckpointError, DiskError, StreamError) as error:
            self.recorder.note(f"no new checkpoint: {error}")
            self.recorder.note(kept_line(self.config.folder / "checkpoints"))
        else:
            self.recorder.note(saved_line(learner.version))
