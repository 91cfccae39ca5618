"""A run in one process: the parts of a run, one after the other, without Ray and Redis.

Rollout engine, sandbox and learner are those of the actors. With one learner rank and no staleness
it ends with the weights and evaluations of ``couplet train``, bit for bit, and starts in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from torch import Tensor

from common.config import Config, ConfigError
from common.likelihood.registry import make_estimator
from common.models import runtime
from common.models.folder import model_folder
from common.models.loading import load_model
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, Task, TrajectoryGroup
from common.weights.fence import VersionFence
from learner import process_group
from learner.collector import Collector
from learner.engine import Engine
from learner.export import export_model
from learner.learner_loop import LearnerLoop, StepReport
from learner.objectives.registry import make_objective
from learner.policy import Policy
from learner.preparation import prepare
from learner.progress import Progress
from orchestrator.admission import Ledger, capacity
from orchestrator.curriculum import Curriculum, load_curriculum
from orchestrator.rounds import Evaluation, evaluate
from reward_service.configured import make_sandbox, make_scorer
from reward_service.reward_loop import score_rollouts
from reward_service.scoring import Scorer
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.registry import build_backend
from rollout_workers.compilation import expected_completions
from rollout_workers.rollout_engine import RolloutEngine

_NAME = "in-process"


class GroupMaker:
    """Completes and scores groups, by the weights that were loaded last."""

    def __init__(self, config: Config, backend: Backend, scorer: Scorer) -> None:
        deadlines = config.deadlines
        self._backend = backend
        self._scorer = scorer
        self._shuffle = config.reward.shuffle
        self._fence = VersionFence()
        self._deadline = deadlines.weights_seconds
        encoder = PromptEncoder(config.model.path, config.data)
        self._engine = RolloutEngine(_NAME, backend.engine, encoder, self._fence, deadlines.step_seconds)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Replace the weights."""
        with self._fence.writing(version, self._deadline):
            self._backend.load(weights)

    def make(self, prompts: Sequence[PromptGroup]) -> list[TrajectoryGroup]:
        """Complete and score groups of one sampler. Raises RequestError for one that cannot be denoised."""
        for prompt in prompts:
            self._engine.check(prompt)
            self._engine.add(prompt)
        found = []
        while self._engine.has_unfinished:
            done = self._engine.step()
            found += [score_rollouts(self._scorer, group, _NAME, self._shuffle) for group in done]
        return found


class TrainingGroups:
    """The groups of each learner step, made when the step asks for them: a learner loop's ``GroupSource``."""

    def __init__(self, config: Config, maker: GroupMaker, curriculum: Curriculum, progress: Progress) -> None:
        self._config = config
        self._maker = maker
        self._progress = progress
        self._curriculum = curriculum
        self._admitted = 0
        self._collector = Collector(
            groups_per_step=config.learner.groups_per_step,
            max_staleness=config.admission.max_staleness,
            stale=config.admission.stale,
            zero_variance=config.learner.zero_variance_groups,
            progress=progress,
            advantage=config.learner.advantage,
        )

    @property
    def spare(self) -> int:
        """None: groups are made for one step at a time."""
        return 0

    def next_groups(self) -> Sequence[TrajectoryGroup]:
        """Make groups until those of one step are there."""
        while (groups := self._collector.take()) is None:
            for group in self._maker.make([self._prompt(index) for index in self._admit()]):
                self._collector.offer(group)
        return groups

    def checkpointed(self) -> None:
        """Do nothing: nothing waits to be acknowledged."""

    def _admit(self) -> range:
        """Return the indices of the groups that may start now, as a run's admission does."""
        config, progress = self._config, self._progress
        count = capacity(
            Ledger(self._admitted, progress.trained, progress.filtered, progress.dropped),
            version=progress.version,
            steps=config.run.total_steps,
            groups_per_step=config.learner.groups_per_step,
            max_staleness=0,
            max_in_flight=config.learner.groups_per_step,
        )
        first, self._admitted = self._admitted, self._admitted + count
        return range(first, self._admitted)

    def _prompt(self, index: int) -> PromptGroup:
        config = self._config
        return PromptGroup(
            run_id=_NAME,
            index=index,
            seed=config.run.seed,
            task=self._curriculum.task(index),
            group_size=config.rollout.group_size,
            min_version=self._progress.version,
            sampler=config.rollout.sampler(),
        )


class HeldOut:
    """Held-out tasks, completed by the weights that a maker holds."""

    def __init__(self, config: Config, maker: GroupMaker, tasks: Sequence[Task]) -> None:
        self._config = config
        self._maker = maker
        self._tasks = tasks

    def groups(self, version: int = 0) -> list[TrajectoryGroup]:
        """Complete and score every task as the evaluation of ``version`` in a run does."""
        rollout, evaluation = self._config.rollout, self._config.evaluation
        sampler = rollout.sampler().model_copy(update={"temperature": evaluation.temperature})
        return self._maker.make(
            [
                PromptGroup(
                    run_id=_NAME,
                    purpose=Purpose.EVALUATION,
                    evaluation=version,
                    index=index,
                    seed=self._config.run.seed,
                    task=task,
                    group_size=evaluation.samples,
                    min_version=version,
                    sampler=sampler,
                )
                for index, task in enumerate(self._tasks)
            ]
        )

    def evaluate(self, version: int) -> Evaluation:
        """Evaluate the weights of ``version``."""
        return evaluate(version, self.groups(version))


class InProcessRun:
    """A run of reinforcement learning, stepped by its caller. Make it by :func:`in_process_run`."""

    def __init__(self, config: Config, maker: GroupMaker) -> None:
        settings = config.learner
        self._config = config
        self._maker = maker
        self._progress = Progress()
        curriculum, held_out = load_curriculum(config, [])
        model = load_model(config.model.path, runtime.configure(config.model))
        prepare(model, settings, config.run.seed)
        self._engine = Engine(
            Policy(model, runtime.compute_dtype(config.model), settings.logits_bytes),
            make_estimator(settings.estimator, settings.inner_iterations),
            make_objective(settings.objective),
            settings,
            config.run.seed,
            config.run.total_steps * settings.updates_per_step,
        )
        self._loop = LearnerLoop(
            settings,
            self._progress,
            self._engine,
            source=TrainingGroups(config, maker, curriculum, self._progress),
            share=lambda groups: groups,
            measure=lambda groups, version: {},
            save_checkpoint=lambda progress: None,
        )
        self._held_out = HeldOut(config, maker, held_out)
        self._publish()

    @property
    def updates(self) -> int:
        """Optimizer steps so far."""
        return self._progress.updates

    def step(self) -> StepReport:
        """Make the groups of a step, train on them, and load the new weights into the rollout engine."""
        report = self._loop.step(checkpoint=False)
        assert report is not None  # only a run that waits for its groups is interrupted
        self._publish()
        return report

    def evaluate(self) -> Evaluation:
        """Evaluate the current weights on the held-out tasks."""
        return self._held_out.evaluate(self._progress.version)

    def export(self, folder: Path) -> None:
        """Write the current weights as a model folder."""
        start = model_folder(self._config.model.path)
        settings = self._config.learner
        export_model(settings, self._engine.model_config, self._engine.parameters(), start, folder)

    def _publish(self) -> None:
        self._maker.load(self._engine.parameters(), self._progress.version)


@contextmanager
def in_process_run(config: Config) -> Iterator[InProcessRun]:
    """Open a run of ``config``, which must have its length in steps.

    Raises ConfigError for settings that one process cannot do, ModelError, and SandboxUnavailable.
    """
    _check(config)
    process_group.join_alone(timedelta(seconds=config.deadlines.step_seconds))
    with group_maker(config) as maker:
        yield InProcessRun(config, maker)


@contextmanager
def group_maker(config: Config) -> Iterator[GroupMaker]:
    """Open the rollout engine and the sandbox of ``config``; they end with the context."""
    sandbox = make_sandbox(config.reward)
    try:
        scorer = make_scorer(config.reward, sandbox)
        backend = build_backend(config)
        try:
            backend.prepare(config.rollout, expected_completions(config))
            yield GroupMaker(config, backend, scorer)
        finally:
            backend.close()
            scorer.close()
    finally:
        sandbox.close()


def _check(config: Config) -> None:
    """Raise ConfigError for what needs more than one process, or rollouts that overlap with training."""
    for field, value, only in (
        ("learner.ranks", config.learner.ranks, 1),
        ("admission.max_staleness", config.admission.max_staleness, 0),
        ("learner.off_policy_cap", config.learner.off_policy_cap, None),
        ("admission.revisit", config.admission.revisit, 1.0),
        ("rollout.update_between", config.takes_weights_between, "batches"),
    ):
        if value != only:
            remedy = "leave it out" if only is None else f"set it to {only}"
            raise ConfigError(f"{field}: {value} is not for a run in one process; {remedy}")
