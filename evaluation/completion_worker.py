"""A completer in a process of its own, as a Ray actor."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import RunFailedError
from evaluation.completers.interface import Batch, Completed, Completer, Loading, Steps
from evaluation.settings import AnySampler, EvaluationSettings
from evaluation.subject import Subject
from rollout_workers.requests import Request

#: Seconds after which a call returns, with what was finished until then.
_CALL_SECONDS = 1.0


class StoppedError(RunFailedError):
    """The worker was closed while it loaded its model."""


@dataclass(frozen=True)
class Progress:
    """What each step of a call has finished of a batch, and whether the last one was the rest of it."""

    steps: tuple[tuple[Completed, ...], ...]
    complete: bool


class CompletionWorker:
    """Completes one batch at a time, in calls of about a second, so that one that hangs can be told.

    Calls are made one at a time, but for :meth:`close`, which may come at any moment.
    """

    def __init__(self, settings: EvaluationSettings, longest: int, start_seconds: float, name: str) -> None:
        self._settings = settings
        self._longest = longest
        self._loading = Loading(start_seconds, self._check)
        self._name = name
        self._working = threading.Lock()
        self._closing = threading.Event()
        self._completer: Completer | None = None
        self._steps: Steps | None = None

    def __repr__(self) -> str:
        """Name the actor in Ray's logs."""
        return self._name

    def load(self) -> None:
        """Load the model. Called once, before anything else; its errors are those of :meth:`Subject.load`."""
        with self._working:
            subject = Subject.read(self._settings.model.path, self._settings.engine)
            self._completer = subject.load(self._settings, self._longest, self._loading)

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Split requests as the completer does."""
        with self._working:
            return self._loaded.batches(requests, sampler)

    def begin(self, batch: Batch, sampler: AnySampler) -> Progress:
        """Begin a batch; what is unfinished of another one is dropped."""
        with self._working:
            self._drop()
            self._steps = self._loaded.complete([batch], sampler)
        return self.advance()

    def advance(self) -> Progress:
        """Go on with the batch."""
        steps: list[tuple[Completed, ...]] = []
        end = time.monotonic() + _CALL_SECONDS
        with self._working:
            for step in self._steps or ():
                steps.append(tuple(step))
                if time.monotonic() > end or self._closing.is_set():
                    return Progress(tuple(steps), complete=False)
        return Progress(tuple(steps), complete=True)

    def close(self) -> None:
        """Release the model, and end the processes that hold it; a load under way is given up."""
        self._closing.set()
        with self._working:
            self._drop()
            if self._completer is not None:
                self._completer.close()

    @property
    def _loaded(self) -> Completer:
        if self._completer is None:
            raise RuntimeError("load the model first")
        return self._completer

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def _check(self) -> None:
        if self._closing.is_set():
            raise StoppedError("closed")
