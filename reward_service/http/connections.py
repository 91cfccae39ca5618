"""Bounds on connections: how long one may take to say what it wants, and how many there may be."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)


class BoundedConnection(H11Protocol):
    """A connection that is closed where no whole header comes in ``header_s`` seconds.

    They count from the connection, and later from the request's first byte. There are ``most`` at a time: a
    further one takes the place of the one that has waited longest without a request, of those that never made one
    first, so that nobody keeps others out by connecting and saying nothing. Where all are at work, the new one is
    closed.
    """

    most = 512
    header_s = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience: asyncio.TimerHandle | None = None
        #: When it began to wait for a request, on the event loop's clock; None while it has one.
        self._waits_since: float | None = None
        self._served = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        full = len(self.connections) >= self.most
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        self._start_patience()
        if full:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._served, self._waits_since = True, None
            self._end_patience()
        elif self._patience is None:
            self._start_patience()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._waits_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_patience()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        waiting = [
            each
            for each in self.connections
            if isinstance(each, BoundedConnection) and each is not self and each._waits_since is not None
        ]
        least = min(waiting, key=lambda each: (each._served, each._waits_since), default=self)
        least._waits_since = None
        least.transport.abort()

    def _start_patience(self) -> None:
        self._patience = self.loop.call_later(self.header_s, self._run_out)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _run_out(self) -> None:
        log.debug("a connection sent no whole header within %g s", self.header_s)
        self._patience = None
        self.transport.abort()


def bounded_to(most: int, header_s: float) -> type[BoundedConnection]:
    """Return the kind of connection of which there may be ``most``; ``header_s``: seconds for a header."""
    return type("BoundedConnection", (BoundedConnection,), {"most": most, "header_s": header_s})
