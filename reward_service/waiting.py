"""Waiting for computations that others may wait for, too, and letting go of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from reward_service.single_flight import Pending, SingleFlightCache
from sandbox.cancellation import Cancellation

T = TypeVar("T")


class AbandonedError(RuntimeError):
    """Nobody waits for these scores any more."""


@contextmanager
def released(
    cache: SingleFlightCache[T], pendings: Iterable[Pending[T]], cancellation: Cancellation
) -> Iterator[None]:
    """Wait inside, and release what is waited for at the end, or when it is cancelled: then AbandonedError."""
    with ExitStack() as waits:
        for pending in pendings:
            waits.callback(cache.release, pending)
        try:
            with cancellation.ending_by(waits.close):
                yield
        except CancelledError as error:
            raise AbandonedError("nobody waits for it any more") from error
        if cancellation.cancelled:
            raise AbandonedError("nobody waits for it any more")
