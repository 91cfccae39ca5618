"""The completions of a task, scored together as soon as all of them are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from evaluation.benchmark import AskedBenchmark
from evaluation.completers.interface import Completed
from evaluation.samples import Sample, make_sample
from reward_service.completions import Completions
from reward_service.results import Scored
from reward_service.scoring_pool import ScoringPool


class GroupScoring:
    """Scores groups of ``size`` completions of a benchmark in a cell, but for those that are ``kept`` already.

    Kept ones are named by the task's index and the number of the sample.
    """

    def __init__(
        self, pool: ScoringPool, asked: AskedBenchmark, cell: str, size: int, kept: Collection[tuple[int, int]]
    ) -> None:
        self._pool = pool
        self._asked = asked
        self._cell = cell
        self._size = size
        self._kept = kept
        self._incomplete: dict[int, list[Completed]] = defaultdict(list)
        self._scored: dict[Future[list[Scored]], list[Completed]] = {}

    @property
    def has_unfinished(self) -> bool:
        """Whether groups are being scored or wait for it."""
        return bool(self._scored)

    def add(self, finished: Iterable[Completed]) -> None:
        """Take in completions; score the groups that they complete."""
        for done in finished:
            index, _ = done.place
            self._incomplete[index].append(done)
            if len(self._incomplete[index]) < self._size:
                continue
            group = [one for one in self._incomplete.pop(index) if one.place not in self._kept]
            if group:
                group.sort(key=lambda one: one.place)
                answers = self._asked.answers(index, group)
                extract = self._asked.template.extraction.program
                self._scored[
                    self._pool.submit(Completions(self._asked.tasks[index], answers, extract=extract))
                ] = group

    def collect(self, seconds: float) -> list[Sample]:
        """Return the samples that are scored, after at most that many seconds."""
        samples: list[Sample] = []
        for future in wait(self._scored, seconds, FIRST_COMPLETED).done:
            samples += self._samples(future, self._scored.pop(future))
        return samples

    def _samples(self, future: Future[list[Scored]], group: Sequence[Completed]) -> list[Sample]:
        index, _ = group[0].place
        task = self._asked.tasks[index]
        results, error = _outcome(future, len(group))
        answers = self._asked.answers(index, group)
        return [
            make_sample(self._cell, self._asked.name, task, text, done, result, error)
            for text, done, result in zip(answers, group, results, strict=True)
        ]


def _outcome(future: Future[list[Scored]], count: int) -> tuple[Sequence[Scored | None], str]:
    """Return what scoring found, or why the task cannot be scored."""
    try:
        return future.result(), ""
    except ValueError as error:  # the task is malformed; the others can be scored all the same
        return [None] * count, str(error)
