"""Processes that read hostile input for this one, each within bounds of CPU time and memory."""

from __future__ import annotations

import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import time
from multiprocessing.connection import Connection

from reward_service.reading.serving import END

_ATTEMPTS = 2
#: Beside CPU time, which decides: a process that does not answer in so many seconds is stuck, not busy.
_WALL_SECONDS = 60.0
_END_SECONDS = 10.0
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH")


class StuckError(RuntimeError):
    """No process answers: our failure, whatever the text."""


class ReaderPool:
    """``size`` processes at the same time, each ``python -P -m MODULE SOCKET``, started when they are needed.

    Thread-safe: callers wait for one that is free.
    """

    def __init__(self, module: str, size: int) -> None:
        self._module = module
        self._free: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)

    def ask(self, asked: bytes) -> list[bytes] | None:
        """Return the parts of an answer; None where the question exceeds the bounds of a process.

        Raises StuckError, and OSError where no process can be started.
        """
        process = self._free.get(timeout=_ATTEMPTS * _WALL_SECONDS)
        try:
            for _ in range(_ATTEMPTS):
                process = process or _Reader(self._module)
                try:
                    return process.ask(asked)
                except _EndedError as error:
                    process = None
                    if error.code == -signal.SIGPROF:
                        return None
            return None  # the text has ended two of them
        except StuckError:
            process = None
            raise
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End those that are free; the others end with the connection, which this process holds."""
        while not self._free.empty():
            process = self._free.get_nowait()
            if process is not None:
                process.close()


class _EndedError(Exception):
    """A process ended instead of answering. ``code``: its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Reader:
    """One process. It ends when its connection does."""

    def __init__(self, module: str) -> None:
        ours, theirs = socket.socketpair()
        search_path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["PYTHONPATH"] = search_path
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,  # without what is secret in ours: it is a parser for hostile text
                start_new_session=True,
            )
        # One that is stopped takes nothing in; then a send waits no longer than an answer may.
        bound = struct.pack("@ll", int(_WALL_SECONDS), 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        self._connection = Connection(ours.detach())

    def ask(self, asked: bytes) -> list[bytes]:
        """Raises _EndedError and StuckError, after which it is gone."""
        parts: list[bytes] = []
        end = time.monotonic() + _WALL_SECONDS
        try:
            self._connection.send_bytes(asked)
            while self._connection.poll(max(end - time.monotonic(), 0.0)):
                part = self._connection.recv_bytes()
                if part == END:
                    return parts
                parts.append(part)
        except (ConnectionError, EOFError) as error:
            self._connection.close()
            raise _EndedError(self._process.wait(_END_SECONDS)) from error
        except BlockingIOError:
            pass
        self.close()
        raise StuckError(f"a process that reads for this one did not answer within {_WALL_SECONDS:g} s")

    def close(self) -> None:
        """End it. Its exit code is that of a signal where it was at work."""
        self._connection.close()
        self._process.kill()
        self._process.wait(_END_SECONDS)
