"""Work that stops when the client that asked for it hangs up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)
T = TypeVar("T")


async def while_client_waits(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result or error; None when the client hung up first, and then the work is cancelled.

    ``receive`` must have given the whole request body already.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class LineStream(Response):
    """Newline-delimited JSON, each line sent when it is there. ``close`` is called however it ends."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes], close: Callable[[], None], seconds: float) -> None:
        """``seconds``: for all of it, a client that reads slowly included."""
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines
        self._close = close
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_client_waits(receive, self._send_all(send))
        except TimeoutError:
            log.warning("a client did not take its answer within %g s", self._seconds)
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        async with asyncio.timeout(self._seconds):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for line in self._lines:
                await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
