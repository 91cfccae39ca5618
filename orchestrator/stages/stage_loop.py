"""The loop of a stage's run: evaluate when it is time, take a step, record it."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.config import ConfigError, StageConfig
from common.disk import DiskError
from learner.checkpoints import CheckpointError, kept_line, saved_line
from learner.divergence import check_metrics
from learner.stages.segments import StageReport
from orchestrator.best_model import BestModel
from orchestrator.fleet.rank_group import LEAVING_NOTE, LearnerDiedError
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.stages.stage_group import StageGroup
from orchestrator.stages.stage_recorder import StageRecorder

#: Where ``run.keep_best`` puts weights in the run's folder.
BEST = "best"


@dataclass
class StageRunLoop:
    """Drive a stage's run to its last step. ``has_held_out``: whether there is anything to evaluate on."""

    config: StageConfig
    ranks: StageGroup
    has_held_out: bool
    recorder: StageRecorder
    stop: StopRequest
    _unrecorded: tuple[StageReport, float] | None = field(default=None, init=False)

    def run(self) -> None:
        """Train to the last step.

        A request to stop, or records that cannot be written, leave all that was trained in a checkpoint, where
        that can be written. Raises Interrupted, TooManyRestartsError, DivergedError, CheckpointError, DiskError,
        or ConfigError for held-out data that nothing can be measured on.
        """
        try:
            self._train()
        except (Interrupted, DiskError):
            self.stop.answer()
            self._save()
            raise

    def _train(self) -> None:
        while True:
            try:
                if self._evaluation_is_due():
                    self._evaluate()
                if self.ranks.version >= self.config.run.total_steps:
                    self.ranks.checkpoint()
                    return
                self._step()
            except LearnerDiedError as error:
                self._restart(error)

    def _step(self) -> None:
        self.recorder.phase("training")
        began = time.monotonic()
        # A checkpoint is written before a step, when metrics.jsonl has all the steps that it holds.
        checkpoint = self.ranks.version % self.config.learner.checkpoint_steps == 0
        report = self.ranks.step(checkpoint, self._watch)
        self._record(report, time.monotonic() - began)

    def _evaluation_is_due(self) -> bool:
        version, every = self.ranks.version, self.config.evaluation.every_steps
        at_an_end = version in (0, self.config.run.total_steps)
        due = self.has_held_out and (at_an_end or (every > 0 and version % every == 0))
        return due and not self.recorder.has_evaluation(version)

    def _evaluate(self) -> None:
        self.recorder.phase("evaluating on held-out data")
        began = time.monotonic()
        losses = self.ranks.evaluate(self._watch)
        seconds = time.monotonic() - began
        if not losses:
            raise ConfigError(
                "data.held_out_share: of what it holds out, no token is masked at any of evaluation.ratios; raise "
                "one of the two, or set the share to 0 to train without evaluations"
            )
        if self.config.run.keep_best:  # before it is recorded: a kill between the two has both done again
            best = BestModel(self.config.folder / BEST, higher_is_better=False)
            best.offer(self.ranks.version, losses["held_out/loss"], self.ranks.export)
        self.recorder.evaluation(self.ranks.version, losses, seconds)
        self._check_finite(losses, "held_out/loss")

    def _watch(self) -> None:
        """Keep the records of the run up to date while ranks work. Raises Interrupted."""
        if self.ranks.leaving:
            self.recorder.note(f"{LEAVING_NOTE}: the run stops with a checkpoint")
            self.stop.request(signal.SIGTERM)
        self.stop.check()
        self.recorder.poll()

    def _record(self, report: StageReport, seconds: float) -> None:
        self._unrecorded = report, seconds
        self.recorder.step(report, seconds, self.ranks.restarts)
        self._unrecorded = None
        self._check_finite(report.metrics, "denoising/loss", "optim/grad_norm")

    def _check_finite(self, metrics: Mapping[str, float], *names: str) -> None:
        """Raise DivergedError for a metric, of the present version, that is not finite."""
        checkpoints = self.config.folder / "checkpoints"
        check_metrics(metrics, names, self.ranks.version, checkpoints, self.config.learner.optimizer)

    def _restart(self, error: LearnerDiedError) -> None:
        """Restart the ranks from their last checkpoint: they train on the same data again."""
        self._unrecorded = None
        while True:
            try:
                self.recorder.note(self.ranks.restart(str(error)))
            except LearnerDiedError as again:
                error = again
            else:
                self.recorder.rewind(self.ranks.version)
                return

    def _save(self) -> None:
        """Write a checkpoint of all steps that were trained, each of them recorded."""
        self.recorder.phase("writing a checkpoint; a second signal ends the run at once")
        began = time.monotonic()
        try:
            if self._unrecorded is not None:
                self.recorder.rewind(self._unrecorded[0].version - 1)  # a part of it may have been written
                self._record(*self._unrecorded)
            report = self.ranks.interrupt()
            if report is not None:
                self._record(report, time.monotonic() - began)
            self.ranks.checkpoint()
        except (LearnerDiedError, CheckpointError, DiskError) as error:
            self.recorder.note(f"no new checkpoint: {error}")
            self.recorder.note(kept_line(self.config.folder / "checkpoints"))
        else:
            self.recorder.note(saved_line(self.ranks.version))
