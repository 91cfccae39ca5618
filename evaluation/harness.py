"""The loop of an evaluation: complete the tasks, score what is complete meanwhile, and keep every sample."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass

from common.models.prompts import PromptEncoder
from common.records import NoiseKey, Purpose, Task
from evaluation.completers.interface import Completed, Completer
from evaluation.samples import Sample, make_sample
from evaluation.settings import EvaluationSettings
from reward_service.scoring import Scored
from reward_service.scoring_pool import ScoringPool
from rollout_workers.requests import Request

_POLL_S = 0.2
#: A run numbers its evaluations by the version of the weights; these are those that it starts with.
_EVALUATION = 0


@dataclass(frozen=True)
class Benchmark:
    """Tasks that are reported together, with what the model reads of each."""

    name: str
    tasks: tuple[Task, ...]
    prompts: tuple[tuple[int, ...], ...]

    def requests(self, seed: int, samples: int) -> list[Request]:
        """Return the completions that are asked for, keyed as a run's evaluation keys them."""
        purpose = f"noise-{Purpose.EVALUATION}"
        return [
            Request(prompt, NoiseKey(seed, purpose, (_EVALUATION, index, sample)))
            for index, prompt in enumerate(self.prompts)
            for sample in range(samples)
        ]


class Harness:
    """Evaluates a model on benchmarks.

    ``keep`` is given the samples of every task as soon as all of them are scored, and ``check`` is called between
    steps and while waiting: it may raise to stop the evaluation.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        completer: Completer,
        encoder: PromptEncoder,
        scoring: ScoringPool,
        keep: Callable[[Sequence[Sample]], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._completer = completer
        self._encoder = encoder
        self._scoring = scoring
        self._keep = keep
        self._check = check

    def run(self, benchmark: Benchmark) -> float:
        """Complete and score every task; return the seconds that completing them took."""
        requests = benchmark.requests(self._settings.seed, self._settings.samples)
        complete: dict[int, list[Completed]] = defaultdict(list)
        scored: dict[Future[list[Scored]], list[Completed]] = {}
        started = time.monotonic()
        with closing(self._completer.complete(requests)) as steps:
            for finished in steps:
                self._check()
                for done in finished:
                    index = done.request.key.indices[1]
                    complete[index].append(done)
                    if len(complete[index]) == self._settings.samples:
                        group = sorted(complete.pop(index), key=lambda one: one.request.key.indices)
                        scored[self._submit(benchmark, index, group)] = group
                self._collect(benchmark, scored, 0.0)
        seconds = time.monotonic() - started
        while scored:
            self._check()
            self._collect(benchmark, scored, _POLL_S)
        return seconds

    def _submit(self, benchmark: Benchmark, index: int, group: Sequence[Completed]) -> Future[list[Scored]]:
        task = benchmark.tasks[index]
        return self._scoring.submit(task, [self._text(task, done) for done in group])

    def _collect(
        self, benchmark: Benchmark, scored: dict[Future[list[Scored]], list[Completed]], seconds: float
    ) -> None:
        """Keep the groups that are scored, after at most that many seconds."""
        for future in wait(scored, seconds, FIRST_COMPLETED).done:
            group = scored.pop(future)
            task = benchmark.tasks[group[0].request.key.indices[1]]
            results, error = _outcome(future, len(group))
            self._keep(
                [
                    make_sample(benchmark.name, task, self._text(task, done), done, result, error)
                    for done, result in zip(group, results, strict=True)
                ]
            )

    def _text(self, task: Task, done: Completed) -> str:
        """Return the whole answer, up to what stops it."""
        begun = self._encoder.answer_prefix(task)
        written = self._encoder.decode(done.text_ids)
        ends = [place for stop in self._settings.stop if (place := written.find(stop)) >= 0]
        return begun + written[: min(ends, default=len(written))]


def _outcome(future: Future[list[Scored]], count: int) -> tuple[Sequence[Scored | None], str]:
    """Return what scoring found, or why the task cannot be scored."""
    try:
        return future.result(), ""
    except ValueError as error:  # the task is malformed; the others can be scored all the same
        return [None] * count, str(error)
