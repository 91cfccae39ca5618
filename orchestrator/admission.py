"""Admission: how many groups may start now, and their prompts on their way to the rollout workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.config import Config
from common.records import PromptGroup
from common.streams import PROMPTS, Streams
from learner.progress import Progress
from orchestrator.curriculum import Curriculum
from orchestrator.pacer import Pacer


@dataclass(frozen=True)
class Ledger:
    """Count what became of every admitted group: ``admitted == trained + filtered + dropped + in_flight``, always.

    ``in_flight`` is derived: a group is in flight from admission until the learner has trained, filtered or
    dropped it, wherever it is meanwhile; ``late`` counts those that a whole step's groups have overtaken. When a
    learner restarts from a checkpoint, its three counts fall back to the checkpoint's and the groups it had
    consumed since are in flight again.
    """

    admitted: int = 0
    trained: int = 0
    filtered: int = 0
    dropped: int = 0
    late: int = 0

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
    """Return how many groups may be admitted, so that none is trained more than ``max_staleness`` versions late.

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
        self._curriculum = curriculum
        self._pacer = Pacer(config.learner.groups_per_step, config.admission.max_staleness)
        self._admitted = streams.counters().get("admitted", 0)

    def ledger(self) -> Ledger:
        """Return what became of every group admitted so far."""
        counters = self._streams.counters()
        return Ledger(
            admitted=self._admitted,
            trained=counters.get("trained", 0),
            filtered=counters.get("filtered", 0),
            dropped=counters.get("dropped", 0),
            late=counters.get("late", 0),
        )

    def restore(self, progress: Progress) -> None:
        """Admit what ``progress`` lacks again, if the groups that were admitted since are gone from Redis."""
        if self._admitted < progress.end or not self._streams.has_backlog():
            self._admitted = progress.end
            missing = [index for index in range(progress.next_index, progress.end) if not progress.holds(index)]
            self._publish(missing, progress.version)

    def step_ended(self, waited: float, left_over: int) -> None:
        """Learn what :meth:`Pacer.step_ended` is told of a step."""
        self._pacer.step_ended(waited, left_over)

    def admit(self, version: int) -> None:
        """Admit as many groups as may start at ``version``. Raises StreamFullError."""
        settings = self._config.admission
        count = capacity(
            self.ledger(),
            version=version,
            steps=self._config.run.total_steps,
            groups_per_step=self._config.learner.groups_per_step,
            max_staleness=settings.max_staleness,
            max_in_flight=settings.max_in_flight,
            lead=self._pacer.lead,
            oversample=settings.oversample,
        )
        if count:
            indices = range(self._admitted, self._admitted + count)
            self._admitted = indices.stop
            self._publish(indices, version)

    def _publish(self, indices: Sequence[int], version: int) -> None:
        self._streams.publish(
            PROMPTS,
            [self._prompt(index, version) for index in indices],
            counters={"admitted": self._admitted},
            deadline=self._config.deadlines.step_seconds,
        )

    def _prompt(self, index: int, version: int) -> bytes:
        config = self._config
        return PromptGroup(
            run_id=self._run_id,
            index=index,
            seed=config.run.seed,
            task=self._curriculum.task(index),
            group_size=config.rollout.group_size,
            min_version=version,
            sampler=config.rollout.sampler(),
        ).encode()
