"""The run: admit groups, step the learner, hand out its weights, look after the workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from common.config import Config
from common.records import PromptGroup
from common.streams import PROMPTS, Streams
from learner.checkpoints import CheckpointError
from learner.learner_loop import StepReport
from orchestrator.admission import Ledger, capacity
from orchestrator.curriculum import Curriculum
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.learner_group import LearnerDiedError, LearnerGroup
from orchestrator.fleet.pool import WorkerPool
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.recorder import Recorder
from orchestrator.report.display import Display
from orchestrator.run_folder import RunFolder

_TICK_SECONDS = 0.2
_SAMPLES_KEPT_PER_STEP = 4


@dataclass
class Totals:
    """What the summary adds up."""

    samples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add_seconds(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


class RunLoop:
    """Drives one run to its last step."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        streams: Streams,
        curriculum: Curriculum,
        evaluator: Evaluator,
        learner: LearnerGroup,
        rollout: WorkerPool,
        reward: WorkerPool,
        display: Display,
        recorder: Recorder,
        stop: StopRequest,
    ) -> None:
        self._config = config
        self._folder = folder
        self._streams = streams
        self._curriculum = curriculum
        self._evaluator = evaluator
        self._learner = learner
        self._rollout = rollout
        self._reward = reward
        self._display = display
        self._recorder = recorder
        self._stop = stop
        self._unrecorded: StepReport | None = None
        self._step_began = 0.0
        self._admitted = streams.counters().get("admitted", 0)
        self.totals = Totals()

    def run(self) -> None:
        """Train to the last step; what was trained before an interruption goes into a checkpoint."""
        try:
            self._train()
        except Interrupted:
            self._stop.answer()
            self._save()
            raise

    def _train(self) -> None:
        """With held-out evaluations before, between and after."""
        config = self._config
        self._restore_admissions()
        try:
            self._publish()
        except LearnerDiedError as error:
            self._recover(error)
        if self._learner.version == 0:
            self._evaluate_once()
        self._display.phase("training")
        while True:
            self._step_began = time.monotonic()
            try:
                if self._learner.version >= config.run.steps:
                    self._learner.checkpoint()
                    break
                report = self._unrecorded = self._step()
                weights_seconds = self._publish()
            except LearnerDiedError as error:
                self._recover(error)
                continue
            self._record(report, weights_seconds)
            self.totals.add_seconds("train", time.monotonic() - self._step_began)
            every = config.evaluation.every_steps
            if every and report.version % every == 0 and report.version < config.run.steps:
                self._evaluate_once()
                self._display.phase("training")
        self._evaluate_once()

    def ledger(self) -> Ledger:
        """What became of every group admitted so far."""
        counters = self._streams.counters()
        return Ledger(
            admitted=self._admitted,
            trained=counters.get("trained", 0),
            filtered=counters.get("filtered", 0),
            dropped=counters.get("dropped", 0),
        )

    def _restore_admissions(self) -> None:
        """After a resume on an empty Redis, admission starts again at what the checkpoint had consumed."""
        ledger = self.ledger()
        consumed = ledger.trained + ledger.filtered + ledger.dropped
        if self._admitted < consumed or not self._streams.has_backlog():
            self._admitted = consumed
            self._streams.set_counters({"admitted": consumed})

    def _step(self) -> StepReport:
        """One learner step, with admission and the care of the workers going on beside it."""
        # Of steps that are in metrics.jsonl by now: what a checkpoint holds is never done, and recorded, again.
        self._learner.begin_step(self._learner.version % self._config.learner.checkpoint_steps == 0)
        while True:
            self._admit()
            self._tend()
            report = self._learner.poll_step(_TICK_SECONDS)
            if report is not None:
                return report

    def _recover(self, error: LearnerDiedError) -> None:
        """Restart the learner from its last checkpoint; what it had consumed since is delivered to it again."""
        self._unrecorded = None
        while True:
            try:
                self._display.note(self._learner.restart(str(error)))
                self._folder.rewind(self._learner.version)
                self._publish()
            except LearnerDiedError as again:
                error = again
            else:
                return

    def _save(self) -> None:
        """A checkpoint of all steps that were trained, each of them recorded."""
        self._display.phase("writing a checkpoint; a second signal ends the run at once")
        try:
            for report in (self._unrecorded, self._learner.interrupt()):
                if report is not None:
                    self._record(report, 0.0)
            self._learner.checkpoint()
        except (LearnerDiedError, CheckpointError) as error:
            self._display.note(f"no new checkpoint: {error}")
        else:
            self._display.note(f"checkpoint of step {self._learner.version}; go on with --resume auto")

    def _admit(self) -> None:
        config = self._config
        count = capacity(
            self.ledger(),
            version=self._learner.version,
            steps=config.run.steps,
            groups_per_step=config.learner.groups_per_step,
            max_staleness=config.admission.max_staleness,
            max_in_flight=config.admission.max_in_flight,
        )
        if count:
            indices = range(self._admitted, self._admitted + count)
            prompts = [
                PromptGroup(
                    run_id=self._folder.run_id,
                    index=index,
                    seed=config.run.seed,
                    task=self._curriculum.task(index),
                    group_size=config.rollout.group_size,
                    min_version=self._learner.version,
                    sampler=config.rollout.sampler(),
                ).encode()
                for index in indices
            ]
            self._streams.publish(
                PROMPTS,
                prompts,
                counters={"admitted": indices.stop},
                deadline=config.deadlines.step_seconds,
            )
            self._admitted = indices.stop

    def _tend(self) -> None:
        self._stop.check()
        for note in self._rollout.tend() + self._reward.tend():
            self._display.note(note)
        self._recorder.tend()

    def _publish(self) -> float:
        """Hand the learner's weights to all rollout workers; the seconds it took."""
        started = time.monotonic()
        for note in self._rollout.publish(self._learner):
            self._display.note(note)
        return time.monotonic() - started

    def _record(self, report: StepReport, weights_seconds: float) -> None:
        self._unrecorded = None
        step_seconds = time.monotonic() - self._step_began
        ledger = self.ledger()
        metrics = report.metrics | {
            "seconds/weights": weights_seconds,
            "seconds/step": step_seconds,
            "perf/samples_per_second": report.samples / step_seconds,
            "ledger/admitted": float(ledger.admitted),
            "ledger/trained": float(ledger.trained),
            "ledger/filtered": float(ledger.filtered),
            "ledger/dropped": float(ledger.dropped),
            "ledger/in_flight": float(ledger.in_flight),
            "restarts": float(self._rollout.restarts + self._reward.restarts + self._learner.restarts),
        }
        self.totals.samples += report.samples
        self._recorder.step(report.version, metrics)
        for sample in _samples(report):
            self._folder.append("samples", sample)
        self._display.step(report.version, self._config.run.steps, metrics)

    def _evaluate_once(self) -> None:
        """Evaluate the current version, unless an earlier life of this run has done so."""
        version = self._learner.version
        if not self._evaluator.tasks or version in {r["step"] for r in self._folder.records("evaluations")}:
            return
        self._display.phase(f"evaluating on {len(self._evaluator.tasks)} held-out tasks")
        started = time.monotonic()
        result = self._evaluator.run(version, self._tend)
        self.totals.add_seconds("evaluate", time.monotonic() - started)
        self._recorder.evaluation(result)
        self._display.evaluation(version, result.pass_rate, result.by_family)


def _samples(report: StepReport) -> list[dict[str, object]]:
    """A few samples of a step for the report: the first of each of the first groups."""
    samples = []
    for group in report.groups[:_SAMPLES_KEPT_PER_STEP]:
        if group.rollouts is not None:
            score = group.scores[0]
            samples.append(
                {
                    "step": report.version,
                    "task_id": group.prompt.task.id,
                    "family": group.prompt.task.family,
                    "prompt": group.prompt.task.prompt,
                    "completion": group.rollouts.rollouts[0].text,
                    "reward": score.reward,
                    "components": score.components,
                    "verdicts": [str(verdict) for verdict in score.verdicts],
                }
            )
    return samples
