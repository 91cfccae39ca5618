"""Turns: so that many requests at once hold up nobody who asks for little, such as for the service's health."""

from __future__ import annotations

import asyncio


class Turns:
    """Lets requests go on one at a time, with a round of the event loop between any two.

    What is ready at the same time is done in one round, and whoever comes next waits for all of it. With turns,
    that is one request's work and not that of all that are there.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Wait for a turn, first come, first served."""
        async with self._lock:
            await asyncio.sleep(0)
