"""The reward service as a process: it listens, serves, and on a signal winds down before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from common.records import TrajectoryGroup
from reward_service.http.app import create_app
from reward_service.http.connections import bounded_to
from reward_service.http.service import RewardService
from reward_service.http.stream_worker import AbandonedError, StreamWorker

log = logging.getLogger(__name__)
#: For clients to take what is ready once their batches were cut short.
_LAST_LINES_S = 5.0
_LOG_EVERY_S = 60.0
#: Of the garbage collector: new objects, and collections of one generation for one of the next.
_THRESHOLDS = (5_000, 10, 100)


class _Server(uvicorn.Server):
    """Leaves signals to :class:`ServiceProcess`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ServiceProcess:
    """Serves one service, and one stream worker on the same scorer if there is one; closes both at the end.

    ``drain_s``: from the first SIGTERM or SIGINT on, for open batches and the worker's group to finish. A second
    signal ends that wait.
    """

    def __init__(self, service: RewardService, worker: StreamWorker | None, drain_s: float) -> None:
        self._service = service
        self._worker = worker
        self._drain_s = drain_s
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._groups = 0

    async def serve(self, listener: socket.socket) -> None:
        """Serve until a signal, and then until all is finished. Raises the error that ended the stream worker."""
        loop = asyncio.get_running_loop()
        server = _Server(
            uvicorn.Config(
                create_app(self._service),
                http=bounded_to(self._service.settings.connections, self._service.settings.header_s),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=int(_LAST_LINES_S),
            )
        )
        _collect_seldom()
        background = [loop.create_task(self._service.prober.run()), loop.create_task(self._report())]
        streaming: asyncio.Future[None] | None = None
        if self._worker is not None:
            streaming = asyncio.wrap_future(self._worker.start(self._service.scorer, self._count))
            streaming.add_done_callback(lambda _: self._asked.set())
        try:
            with _handled(loop, self._on_signal):
                serving = loop.create_task(server.serve(sockets=[listener]))
                serving.add_done_callback(lambda _: self._asked.set())
                await self._asked.wait()
                await self._wind_down(streaming)
                server.should_exit = True
                await serving
        finally:
            for task in background:
                task.cancel()
            await asyncio.to_thread(self._close)
        if streaming is not None:
            with contextlib.suppress(AbandonedError):
                await streaming

    async def _wind_down(self, streaming: asyncio.Future[None] | None) -> None:
        loop = asyncio.get_running_loop()
        dispatcher = self._service.dispatcher
        dispatcher.drain()
        if self._worker is not None:
            self._worker.stop()
        log.info("shutting down: no new work; what is open has %g s", self._drain_s)
        end = loop.time() + self._drain_s
        open_work: set[asyncio.Future[Any]] = {asyncio.ensure_future(dispatcher.idle(end))}
        if streaming is not None:
            open_work.add(streaming)
        hurry: asyncio.Future[Any] = asyncio.ensure_future(self._hurry.wait())
        while (left := {work for work in open_work if not work.done()}) and not hurry.done() and loop.time() < end:
            await asyncio.wait({*left, hurry}, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if self._worker is not None and streaming in left:
            log.warning("the stream worker's group is left to other workers")
            self._worker.abandon()
        dispatcher.expire()
        await dispatcher.idle(loop.time() + _LAST_LINES_S)

    def _close(self) -> None:
        self._service.close()
        if self._worker is not None:
            self._worker.close()

    def _on_signal(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    def _count(self, _: TrajectoryGroup) -> None:
        self._groups += 1

    async def _report(self) -> None:
        """Log a line a minute, if there was anything."""
        while True:
            await asyncio.sleep(_LOG_EVERY_S)
            recent = self._service.metrics.recent()
            groups, self._groups = self._groups, 0
            if groups or any(recent.values()):
                log.info(
                    "%d requests (%d refused), %d programs scored, %d wait; %d groups from the stream",
                    recent["requests"],
                    recent["refused"],
                    recent["programs"],
                    self._service.dispatcher.depth,
                    groups,
                )


def _collect_seldom() -> None:
    """Have garbage looked for among what is new, and seldom among all that is there: that holds every answer up.

    What was imported and made so far stays for good, and is not looked through at all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextlib.contextmanager
def _handled(loop: asyncio.AbstractEventLoop, on_signal: Callable[[], None]) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket to listen on; ``port`` 0 takes a free one. Raises OSError."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        version = 4
    return socket.create_server((host, port), family=socket.AF_INET6 if version == 6 else socket.AF_INET)
