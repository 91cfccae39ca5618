"""Held-out evaluations beside training.

Rollout workers keep the weights of one version until its tasks are done; newer ones wait. The learner goes on with
the groups in flight, and the result is recorded under the version that it is of.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from common.config import Config
from orchestrator.best_model import BestModel
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.fleet import Fleet
from orchestrator.recorder import Recorder


@dataclass
class SideEvaluation:
    """Evaluate versions while training goes on. Call :meth:`poll` often."""

    config: Config
    fleet: Fleet
    evaluator: Evaluator
    recorder: Recorder
    _began: float = field(default=0.0, init=False)

    @property
    def version(self) -> int | None:
        """The version that is being evaluated; None while none is."""
        return self.evaluator.version

    def is_due(self, version: int) -> bool:
        """Tell whether ``version`` is to be evaluated, and was not in an earlier attempt at this run."""
        every, last = self.config.evaluation.every_steps, self.config.run.total_steps
        planned = version in (0, last) or bool(every and version % every == 0)
        return bool(self.evaluator.tasks) and planned and not self.recorder.has_evaluation(version)

    def begin(self, version: int) -> None:
        """Begin to evaluate the current weights, of ``version``; to be called before the learner moves on.

        Raises LearnerDiedError where these are kept for ``run.keep_best``.
        """
        self._began = time.monotonic()
        if self.config.run.keep_best:
            self.recorder.phase("keeping the weights that are evaluated")
            shutil.rmtree(self._candidate, ignore_errors=True)
            self.fleet.learner.export(self._candidate)
        beside = "training, and " if version < self.config.run.total_steps else ""
        self.recorder.phase(f"{beside}evaluating on {len(self.evaluator.tasks)} held-out tasks")
        self.fleet.hold_weights()
        self.evaluator.begin(version)

    def poll(self) -> None:
        """Record the evaluation under way once it is done, and let workers have newer weights.

        It is recorded after its weights are kept, if they are the best: a kill in between has both done again.
        Raises RunDeadlineError.
        """
        result = self.evaluator.poll()
        if result is None:
            return
        self.fleet.release_weights()
        if self.config.run.keep_best:
            best = BestModel(self.config.folder / "best", higher_is_better=True)
            best.offer(result.version, result.pass_rate, self._move_candidate)
            shutil.rmtree(self._candidate, ignore_errors=True)
        self.recorder.evaluation(result, time.monotonic() - self._began)
        if result.version < self.config.run.total_steps:
            self.recorder.phase("training")

    def give_up(self) -> None:
        """End the evaluation under way without a result: no worker has its weights, and no learner any more.

        Training comes to its version again, and evaluates that.
        """
        self.evaluator.give_up()
        self.fleet.release_weights()

    @property
    def _candidate(self) -> Path:
        return self.config.folder / ".candidate"

    def _move_candidate(self, target: Path) -> None:
        self._candidate.rename(target)
