"""Run jobs of many requests on few threads, in turn, with a bound on what waits.

Everything here is used on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, Protocol, TypeVar

from reward_service.http.errors import RefusedError
from reward_service.http.queue import FairQueue, QueueFullError
from sandbox.cancellation import Cancellation

Result = TypeVar("Result")
_LONGEST_RETRY_S = 60
_DRAINING_RETRY_S = 5
_SMOOTHING = 0.05


class OverloadedError(RefusedError):
    """The queue is full; ``retry_after`` is about when it may have room, seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, message, type_="queue_full", retry_after=retry_after)
        self.retry_after = retry_after


class DrainingError(RefusedError):
    """The service is about to end and takes no new work."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the service is shutting down; send this to another",
            type_="draining",
            retry_after=_DRAINING_RETRY_S,
        )


class BatchTooLargeError(RefusedError):
    """More programs in one request than the queue could ever hold."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, type_="batch_too_large")


class JobMetrics(Protocol):
    """Is told for how many seconds each job waited and ran."""

    def waited(self, seconds: float) -> None: ...
    def ran(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Done(Generic[Result]):
    """The end of job ``index`` of a submission: its result, or the error it raised."""

    index: int
    result: Result | None
    error: BaseException | None


class Submission(Generic[Result]):
    """The jobs of one request. Whoever submitted them must :meth:`close` it, finished or not."""

    def __init__(self, dispatcher: Dispatcher, count: int) -> None:
        self._dispatcher = dispatcher
        #: Tells the jobs that run that nobody waits for them.
        self.cancellation = Cancellation()
        self._left = count
        self._done: asyncio.Queue[Done[Result] | None] = asyncio.Queue()

    async def outcomes(self, deadline: float) -> AsyncGenerator[Done[Result], None]:
        """Yield every job as it ends, in any order, until ``deadline`` (event loop time)."""
        while self._left:
            try:
                async with asyncio.timeout_at(deadline):
                    done = await self._done.get()
            except TimeoutError:
                return
            if done is None:
                return
            self._left -= 1
            yield done

    async def first(self, deadline: float) -> Done[Result] | None:
        """Return the job that ends first; None at ``deadline`` (event loop time)."""
        async with aclosing(self.outcomes(deadline)) as outcomes:
            async for done in outcomes:
                return done
        return None

    def tell(self, done: Done[Result]) -> None:
        """Report how a job ended, to whoever reads :meth:`outcomes`."""
        self._done.put_nowait(done)

    def expire(self) -> None:
        """End :meth:`outcomes` now, without the jobs that have not ended."""
        self._done.put_nowait(None)

    def close(self) -> None:
        """Drop the jobs that have not started, and cancel the others."""
        self._dispatcher.forget(self)


@dataclass(frozen=True)
class _Job:
    submission: Submission[Any]
    index: int
    call: Callable[[Cancellation], Any]
    queued: float


class Dispatcher:
    """Runs the jobs of submissions.

    ``threads``: jobs at the same time. ``capacity``: jobs that may wait, of all requests together. A job is called
    with what tells it that nobody waits any more.
    """

    def __init__(
        self, threads: int, capacity: int, metrics: JobMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threads = threads
        self._queue: FairQueue[_Job] = FairQueue(capacity)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reward-service")
        # Cancelling may ask a container engine, which the event loop must not wait for.
        self._canceller = ThreadPoolExecutor(1, thread_name_prefix="reward-service-cancel")
        self._metrics = metrics
        self._clock = clock
        self._running = 0
        self._busy: Counter[Submission[Any]] = Counter()
        self._mean_seconds = 0.0
        self._open: set[Submission[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @property
    def depth(self) -> int:
        """The number of jobs that wait."""
        return len(self._queue)

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining

    def check(self, count: int) -> None:
        """Raise DrainingError or BatchTooLargeError where so many jobs will not be taken, now or ever."""
        if self._draining:
            raise DrainingError
        if count > self._queue.capacity:
            raise BatchTooLargeError(
                f"{count} programs in one request, and the queue holds {self._queue.capacity}; split it"
            )

    def submit(self, jobs: Sequence[Callable[[Cancellation], Result]]) -> Submission[Result]:
        """Queue all of them. Raises OverloadedError, DrainingError and BatchTooLargeError, with nothing queued."""
        self.check(len(jobs))
        submission: Submission[Result] = Submission(self, len(jobs))
        now = self._clock()
        try:
            self._queue.put(submission, [_Job(submission, index, job, now) for index, job in enumerate(jobs)])
        except QueueFullError as error:
            raise OverloadedError(str(error), self._retry_after()) from error
        self._open.add(submission)
        self._idle.clear()
        self._pump()
        return submission

    def forget(self, submission: Submission[Any]) -> None:
        """Drop what a submission has waiting, and cancel what it has running; it is open no longer."""
        self._queue.drop(submission)
        self._open.discard(submission)
        if submission in self._busy:
            self._canceller.submit(submission.cancellation.cancel)
        if not self._open:
            self._idle.set()

    def drain(self) -> None:
        """Refuse new work from now on."""
        self._draining = True

    async def idle(self, deadline: float) -> bool:
        """Wait until no request is open; False where one still is at ``deadline`` (event loop time)."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def expire(self) -> None:
        """End every open request now, with what it has."""
        for submission in self._open:
            submission.expire()

    def close(self) -> None:
        """Wait for the jobs that run; the caller has seen to it that they end."""
        for pool in (self._canceller, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < self._threads and (job := self._queue.take()) is not None:
            self._running += 1
            self._busy[job.submission] += 1
            started = self._clock()
            self._metrics.waited(started - job.queued)
            future = loop.run_in_executor(self._pool, job.call, job.submission.cancellation)
            future.add_done_callback(partial(self._finish, job, started))

    def _finish(self, job: _Job, started: float, future: asyncio.Future[Any]) -> None:
        self._running -= 1
        self._busy[job.submission] -= 1
        if not self._busy[job.submission]:
            del self._busy[job.submission]
        if future.cancelled():
            return
        seconds = self._clock() - started
        self._metrics.ran(seconds)
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
        error = future.exception()
        job.submission.tell(Done(job.index, None if error else future.result(), error))
        self._pump()

    def _retry_after(self) -> int:
        seconds = self.depth * self._mean_seconds / self._threads
        return min(max(1, math.ceil(seconds)), _LONGEST_RETRY_S)
