"""Wait for coroutines from threads: they run on one event loop of the process, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

_STARTING = threading.Lock()


class DeadlineError(TimeoutError):
    """Some coroutine had not ended at the deadline."""


def results_of(awaitables: Sequence[Awaitable[Any]], timeout_s: float) -> list[Any]:
    """Run them at the same time and return the results in order; one that raises has its exception as its result.

    Raises DeadlineError after ``timeout_s``, also where one holds the event loop up; what still runs is cancelled.
    """
    if not awaitables:
        return []

    async def waited_for(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    async def gathered() -> list[Any]:
        # Tasks of their own: what cannot be awaited on this loop fails by itself.
        return await asyncio.gather(*map(waited_for, awaitables), return_exceptions=True)

    future = asyncio.run_coroutine_threadsafe(gathered(), _event_loop())
    try:
        return future.result(timeout_s)
    except TimeoutError as error:
        future.cancel()
        raise DeadlineError from error


def _event_loop() -> asyncio.AbstractEventLoop:
    with _STARTING:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    """Start the loop. It stays for as long as the process, so that connections made on it can be kept."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(loop,), name="async-rewards", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop, also after a coroutine has stopped it or asked the process to exit: others wait on it."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
