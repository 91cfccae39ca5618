"""Admission: how many groups may start now, and their prompts on their way to the rollout workers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from common.config import Config
from common.records import PromptGroup
from common.streams import PROMPTS, Streams
from learner.learner_loop import StepReport
from learner.progress import Progress
from orchestrator.curriculum import Curriculum
from orchestrator.difficulty import DifficultyFilter
from orchestrator.pacer import Pacer


@dataclass(frozen=True)
class Ledger:
    """Count what became of every admitted group: ``admitted == trained + filtered + dropped + in_flight``, always.

    ``in_flight`` is derived: a group is in flight from admission until the learner has trained, filtered or
    dropped it, wherever it is meanwhile; ``late`` counts those that a whole step's groups have overtaken, and
    ``discarded_before`` the filtered and dropped ones before the first that the learner still lacks. When a
    learner restarts from a checkpoint, its three counts fall back to the checkpoint's and the groups it had
    consumed since are in flight again.
    """

    admitted: int = 0
    trained: int = 0
    filtered: int = 0
    dropped: int = 0
    late: int = 0
    discarded_before: int = 0

    @property
    def in_flight(self) -> int:
        return self.admitted - self.consumed

    @property
    def consumed(self) -> int:
        """Groups that the learner is done with."""
        return self.trained + self.filtered + self.dropped


def capacity(
    ledger: Ledger,
    *,
    version: int,
    steps: int,
    groups_per_step: int,
    max_staleness: int,
    max_in_flight: int,
    lead: int | None = None,
    oversample: float = 1.0,
) -> int:
    """Return how many groups may be admitted if none is to be trained more than ``max_staleness`` versions late.

    ``version`` counts the learner steps done. No group is admitted for a step past ``steps``, the run's last, and
    late ones hold no place of those that overtake them. ``lead``: the groups that may be ahead of the steps done,
    by default all that staleness allows. ``oversample``: how many are admitted for each that is to be trained;
    those that nobody filters out are trained a step later.
    """
    allowed = groups_per_step * (max_staleness + 1)
    ahead = version * groups_per_step + min(lead or allowed, allowed) - ledger.trained
    to_the_end = steps * groups_per_step - ledger.trained
    expected = min(ahead + ledger.late, to_the_end)
    return max(0, min(max_in_flight, math.floor(expected * oversample)) - ledger.in_flight)


class Admission:
    """Admit groups in the order of their indices: draw the task of each, and publish its prompt.

    Tell it of every step that ends: it admits no earlier than keeps the learner fed.
    """

    def __init__(self, config: Config, run_id: str, streams: Streams, curriculum: Curriculum) -> None:
        self._config = config
        self._run_id = run_id
        self._streams = streams
        self._tasks = DifficultyFilter(curriculum, config.run.seed, config.admission.revisit)
        self._pacer = Pacer(config.learner.groups_per_step, config.admission.max_staleness)
        self._admitted = streams.counters().get("admitted", 0)
        self._again: list[int] = []

    @property
    def admitted(self) -> int:
        """The count of groups admitted so far."""
        return self._admitted

    def ledger(self, progress: Progress | None = None) -> Ledger:
        """Return what became of every group admitted so far, by ``progress`` or else by the learner's counters."""
        if progress is not None:
            return Ledger(self._admitted, progress.trained, progress.filtered, progress.dropped)
        counters = self._streams.counters()
        return Ledger(
            admitted=self._admitted,
            trained=counters.get("trained", 0),
            filtered=counters.get("filtered", 0),
            dropped=counters.get("dropped", 0),
            late=counters.get("late", 0),
            discarded_before=counters.get("discarded_before", 0),
        )

    def begin_at(self, progress: Progress) -> None:
        """Take all groups for admitted up to the last that the learner, which is at ``progress``, has consumed."""
        self._admitted = max(self._admitted, progress.end)
        self._tasks.learn(progress.flat_tasks)

    def step_ended(self, report: StepReport, seconds: float) -> None:
        """Learn from a step, which took ``seconds``, how early groups are needed, and which tasks are of use."""
        metrics = report.metrics
        self._pacer.step_ended(metrics["seconds/wait"] / seconds, int(metrics["perf/spare_groups"]))
        self._tasks.learn(report.progress.flat_tasks)

    def admit_again(self, indices: Iterable[int]) -> None:
        """Publish groups again that were admitted and are lost, each as soon as it might start now."""
        self._again = sorted(set(indices))

    def admit(self, version: int) -> None:
        """Admit as many groups as may start at ``version``. Raises StreamFullError."""
        settings, ledger = self._config.admission, self.ledger()
        if self._again:
            self._admit_lost(ledger, version)
        count = capacity(
            ledger,
            version=version,
            steps=self._config.run.total_steps,
            groups_per_step=self._config.learner.groups_per_step,
            max_staleness=settings.max_staleness,
            max_in_flight=settings.max_in_flight,
            lead=self._pacer.lead,
            oversample=settings.oversample,
        )
        if not count:
            return
        indices = range(self._admitted, self._admitted + count)
        self._streams.publish(
            PROMPTS,
            [self._prompt(index, version) for index in indices],
            counters={"admitted": indices.stop},
            deadline=self._config.deadlines.step_seconds,
        )
        self._admitted = indices.stop

    def _admit_lost(self, ledger: Ledger, version: int) -> None:
        """Publish those of the lost groups that :func:`capacity` would let start now, had they not yet."""
        config = self._config
        steps = min(config.admission.max_staleness + version + 1, config.run.total_steps)
        end = steps * config.learner.groups_per_step + ledger.discarded_before
        due = [index for index in self._again if index < end]
        if due:
            prompts = [self._prompt(index, version) for index in due]
            self._streams.publish(PROMPTS, prompts, deadline=config.deadlines.step_seconds)
            self._again = self._again[len(due) :]

    def _prompt(self, index: int, version: int) -> bytes:
        config = self._config
        return PromptGroup(
            run_id=self._run_id,
            index=index,
            seed=config.run.seed,
            task=self._tasks.task(index),
            group_size=config.rollout.group_size,
            min_version=version,
            sampler=config.rollout.sampler(),
        ).encode()
