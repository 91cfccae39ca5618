"""Patience with a server that is away: an operation is repeated until it succeeds or a deadline has passed."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff

from common.heartbeat import Heartbeat
from common.streams.connection import StreamError

T = TypeVar("T")

#: Replies of a server that will be of use later, and what they mean. Other refusals stay what they are.
_LATER = {
    "LOADING": "it is loading its data",
    "READONLY": "it is a replica that takes no writes; is a fail-over under way?",
    "MASTERDOWN": "it is a replica whose primary is down",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster is moving data",
    "NOREPLICAS": "it has too few replicas to take writes",
    "BUSY": "it is busy with a script",
    "UNBLOCKED": "it has become a replica",
    "OOM": "its memory is full: raise maxmemory, or lower streams.capacity or learner.checkpoint_steps",
    "MISCONF": "it cannot save its data; is its disk full?",
    "NOGROUP": "the streams are gone, and the run's main process has not made them anew yet",
}
_CODES = re.compile(rf"(?:^|: )({'|'.join(_LATER)})\b")
_TYPED: dict[type[redis.RedisError], str] = {  # of these the client has removed the code
    redis.BusyLoadingError: "LOADING",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
}
_DENIED = (
    redis.exceptions.NoPermissionError,
    redis.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
)
_LONGER_SECONDS = 30.0
_FAILURES = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)


class StreamsAwayError(StreamError):
    """Redis could not be used for longer than the deadline; the message says why."""


class Patience:
    """Repeat operations while Redis is away; give up, for good, after ``seconds`` without success.

    An outage that lasts ``note_after`` seconds is told to ``note`` when that is seen, and again when it is over.
    ``meanwhile`` is called before each repetition; what it raises ends the wait. For one thread.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        note: Callable[[str], None] = lambda line: None,
        meanwhile: Callable[[], None] = lambda: None,
        note_after: float = 1.0,
    ) -> None:
        self.meanwhile = meanwhile
        #: Seconds spent on outages that are over.
        self.waited = 0.0
        #: Attempts that have failed so far. Where one has, a reply may have been lost.
        self.failures = 0
        #: Why Redis cannot be used now; None while it can.
        self.problem: str | None = None
        self._seconds = seconds
        self._note = note
        self._note_after = note_after
        self._noted = False
        self._failing_since: float | None = None

    def also(self, call: Callable[[], object]) -> None:
        """Have ``call`` called before each repetition as well."""
        before = self.meanwhile

        def meanwhile() -> None:
            before()
            call()

        self.meanwhile = meanwhile

    @property
    def lacks_streams(self) -> bool:
        """Whether Redis answers, and what it lacks are the streams."""
        return self.problem is not None and self.problem.endswith(_LATER["NOGROUP"])

    def end(self) -> None:
        """Wait no more, now and later: every operation is tried once."""
        self._seconds = 0.0

    def call(self, what: str, operation: Callable[[], T]) -> T:
        """Return the result of an operation that may be done twice; ``what`` names it in messages.

        Raises :class:`StreamsAwayError`, :class:`StreamError` for what the server will never do, or what
        ``meanwhile`` raises.
        """
        backoff = ExponentialWithJitterBackoff(cap=1.0, base=0.05)
        since: float | None = None
        attempts = 0
        try:
            while True:
                began = time.monotonic()
                try:
                    result = operation()
                except _FAILURES as error:
                    since = began if since is None else since
                    self._take_failure(what, error, time.monotonic() - since)
                else:
                    self._note_end(since)
                    return result
                attempts += 1
                self.meanwhile()
                time.sleep(backoff.compute(attempts))
        finally:
            if since is not None:
                self.waited += time.monotonic() - since

    def attempt(self, what: str, operation: Callable[[], Any]) -> None:
        """Try an operation without waiting; after as long as :meth:`call` waits, give up as it does.

        Raises StreamError.
        """
        began = time.monotonic()
        try:
            operation()
        except _FAILURES as error:
            self._failing_since = self._failing_since or began
            self._take_failure(what, error, time.monotonic() - self._failing_since)
        else:
            self._note_end(self._failing_since)
            if self._failing_since is not None:
                self.waited += time.monotonic() - self._failing_since
            self._failing_since = None

    def once(self, what: str, operation: Callable[[], Any], happened: Callable[[], bool]) -> None:
        """Do what must not be done twice: before each repetition, ask whether it ``happened`` all the same.

        Raises as :meth:`call` does.
        """
        before = self.failures

        def attempt() -> None:
            if self.failures == before or not happened():
                operation()

        self.call(what, attempt)

    def _take_failure(self, what: str, error: redis.RedisError, seconds: float) -> None:
        """Take note of a failed attempt, ``seconds`` into an outage. Raises StreamError for the last one."""
        self.failures += 1
        if isinstance(error, _DENIED):
            raise StreamError(
                f"Redis refuses {what}: {error}; give the user of streams.url this right, or correct its password"
            ) from error
        reason = _why_later(error)
        if reason is None:
            raise StreamError(f"Redis refuses {what}: {error}") from error
        self.problem = f"Redis cannot be used now: {reason}"
        if seconds >= self._seconds:
            self.end()
            raise StreamsAwayError(
                f"{self.problem}; {what} was tried for {seconds:.0f} s (deadlines.redis_seconds); mend that, and "
                "go on with --resume auto"
            ) from error
        if seconds >= self._note_after and not self._noted:
            self._noted = True
            bound = f"up to {self._seconds:.0f} s " if math.isfinite(self._seconds) else ""
            self._note(f"{self.problem}; waiting {bound}for it (deadlines.redis_seconds)")

    def _note_end(self, since: float | None) -> None:
        self.problem = None
        if since is not None and self._noted:
            self._noted = False
            seconds = time.monotonic() - since
            self._note(f"Redis could not be used for {seconds:.0f} s; the run goes on now")


def actor_patience(seconds: float, heart: Heartbeat) -> Patience:
    """Make the patience of an actor, of which the thread that waits is not late.

    It lasts a little longer than ``seconds``, that of the run's main process, which gives up in good order, and
    tells of an outage for all.
    """
    return Patience(seconds + _LONGER_SECONDS, meanwhile=partial(heart.held_up, "Redis, which is away"))


class Deadline:
    """A deadline that outages of Redis do not count against. ``seconds`` from now."""

    def __init__(self, seconds: float, patience: Patience) -> None:
        self._end = time.monotonic() + seconds - patience.waited
        self._patience = patience

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end + self._patience.waited


def _why_later(error: redis.RedisError) -> str | None:
    """Say what keeps a server from its work for now; None for an error that waiting will not mend."""
    for kind, code in _TYPED.items():
        if isinstance(error, kind):
            return _LATER[code]
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"it does not answer ({error})"
    found = _CODES.search(str(error))
    return _LATER[found[1]] if found else None
