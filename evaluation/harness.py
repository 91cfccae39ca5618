"""The loop of an evaluation: complete the tasks, score what is complete meanwhile, and keep every sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from evaluation.batches import OpenBatches
from evaluation.benchmark import AskedBenchmark
from evaluation.completers.interface import Completer
from evaluation.folder import EvaluationFolder
from evaluation.group_scoring import GroupScoring
from evaluation.samples import Sample
from evaluation.settings import Cell
from reward_service.scoring_pool import ScoringPool

_POLL_S = 0.2


class Watcher(Protocol):
    """Somebody who is told how far an evaluation is."""

    def begin(self, benchmark: str, cell: str, completed: int, scored: int) -> None:
        """Take note of what is evaluated now, and how many of its samples were done before."""

    def stepped(self, finished: int) -> None:
        """Take note of a forward pass, and of how many completions it finished."""

    def scored(self, samples: Sequence[Sample]) -> None:
        """Take note of samples that were scored and kept."""


class Harness:
    """Evaluates a model on benchmarks, with ``samples`` completions of each task in each cell.

    Whatever is done is kept in the folder at once, and not done again. ``check`` is called between steps and while
    waiting: it may raise to stop the evaluation.
    """

    def __init__(
        self,
        samples: int,
        completer: Completer,
        scoring: ScoringPool,
        folder: EvaluationFolder,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._samples = samples
        self._completer = completer
        self._scoring = scoring
        self._folder = folder
        self._check = check

    def run(self, asked: AskedBenchmark, cell: Cell, watcher: Watcher) -> None:
        """Complete and score every task in a cell, but for what the folder has of it."""
        requests = asked.requests(cell.seed, self._samples)
        kept = self._folder.kept(asked.name, cell.name)
        if len(kept) == len(requests):
            watcher.begin(asked.name, cell.name, len(requests), len(kept))
            return
        scoring = GroupScoring(self._scoring, asked, cell.name, self._samples, kept)
        missing = dict(enumerate(self._completer.batches(requests, cell.sampler)))
        completed = 0
        for batch in self._folder.batches(asked.name, cell.name):
            completed += len(missing.pop(batch.number))
            scoring.add(batch.completions)
        watcher.begin(asked.name, cell.name, completed, len(kept))
        under_way = OpenBatches(asked.name, cell.name, missing)
        with closing(self._completer.complete(list(missing.values()), cell.sampler)) as steps:
            for finished in steps:
                for complete in under_way.add(finished):
                    self._folder.record(complete)
                scoring.add(finished)
                watcher.stepped(len(finished))
                self._keep(scoring.collect(0.0), watcher)
        while scoring.has_unfinished:
            self._keep(scoring.collect(_POLL_S), watcher)

    def _keep(self, samples: Sequence[Sample], watcher: Watcher) -> None:
        self._check()  # first: a signal that ends the evaluation may have ended programs in the sandbox as well
        if samples:
            self._folder.append(samples)
            watcher.scored(samples)
