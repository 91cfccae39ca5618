"""Work that stops when the client that asked for it hangs up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)
T = TypeVar("T")


async def while_client_waits(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the work's result or raise its error; None when the client hung up first, which cancels the work.

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


class LineStream(StreamingResponse):
    """Newline-delimited JSON, each line or piece of one sent when it is there.

    ``close`` is called however it ends, even where nothing of it could be sent. ``seconds``: for all of it, also
    where the client reads slowly.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[str], close: Callable[[], None], seconds: float) -> None:
        super().__init__(lines)
        self._close = close
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await while_client_waits(receive, self.stream_response(send))
        except TimeoutError:
            log.warning("a client did not take its answer within %g s", self._seconds)
        finally:
            self._close()
