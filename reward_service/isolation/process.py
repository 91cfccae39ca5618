"""A process that calls one reward function, seen from the one that asks it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from common.config import ConfigError
from common.process_tree import state
from common.processes import die_with_parent
from reward_service.isolation import host
from reward_service.isolation.calls import Answer, Call, CallClock, Load, Loaded
from reward_service.user_rewards import late

#: An ``async`` function that is late is answered for by its process, which may need this long beyond the deadline.
GRACE_SECONDS = 0.5
#: The process has this long to write its stack.
_STACK_SECONDS = 0.3
_END_SECONDS = 10.0
_STDERR = 2
#: States of a process, by the kernel, in which it does nothing: by a signal, or by a debugger.
_STOPPED = ("stopped", "tracing stop")
#: How often the memory of a process at work is looked at.
_LOOK_SECONDS = 0.25


class LateError(Exception):
    """A call missed its deadline, and the process was killed."""


class LostError(Exception):
    """The process is gone, perhaps through no fault of the call; the message says why."""


class FunctionProcess:
    """Start a process that imports a reward function. Call :meth:`wait_loaded`, then :meth:`ask`, from one thread.

    ``output``: the file to which what it prints is appended; None for this process's standard error.
    """

    def __init__(self, asked: Load, output: Path | None) -> None:
        self._timeout = asked.setting.timeout_seconds
        self._memory_mb = asked.setting.memory_mb
        self._clock = CallClock.create()
        ours, theirs = socket.socketpair()
        # A process that is stopped neither reads nor writes; then these calls wait no longer than a call may take.
        bound = struct.pack("@ll", int(self._timeout + GRACE_SECONDS) + 1, 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        with theirs:
            self._process = _starter().submit(_start, theirs.fileno(), self._clock.descriptor, output).result()
        self._connection = Connection(ours.detach())
        self._asked = asked

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_loaded(self, seconds: float) -> None:
        """Wait until the function is imported. Raises ConfigError for one that is refused, LostError."""
        end = time.monotonic() + seconds
        try:
            loaded: Loaded = self._exchange(self._asked, lambda: end)
        except LateError as error:
            raise LostError(f"was not imported within {seconds:.0f} s") from error
        except LostError as error:
            raise LostError(f"{error} while it was imported") from error
        if loaded.refusal is not None:
            raise ConfigError(loaded.refusal)

    def ask(self, call: Call) -> Answer:
        """Return the rewards of a group, each call within its time. Raises LateError, LostError."""
        self._clock.begin_call()
        answer: Answer = self._exchange(call, lambda: self._clock.began() + self._timeout + GRACE_SECONDS)
        return answer

    def excess(self) -> str | None:
        """Say that the process holds more memory than it may; None where it does not."""
        if self._memory_mb is None or _resident_mb(self.pid) <= self._memory_mb:
            return None
        return f"held more memory than its {self._memory_mb} MiB (reward.functions: memory_mb)"

    def kill(self) -> None:
        """Kill the process, and those that it started and left in its session."""
        if self._process.returncode is None:  # else its number may be another's by now
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process and release what is held for it. Safe to call twice."""
        self.kill()
        self._process.wait(timeout=_END_SECONDS)
        if not self._connection.closed:
            self._connection.close()
            self._clock.close()

    def _exchange(self, message: Load | Call, deadline: Callable[[], float]) -> Any:
        """Send a message and return its answer. Raises LateError and LostError."""
        try:
            self._connection.send(message)
            while not self._connection.poll(max(0.0, min(deadline() - time.monotonic(), _LOOK_SECONDS))):
                if _has_ended(self.pid):  # though a process that it forked holds the connection open
                    raise EOFError
                if time.monotonic() >= deadline():
                    raise self._missed()
                if excess := self.excess():
                    raise LostError(excess)
            return self._connection.recv()
        except BlockingIOError as error:
            raise self._missed() from error
        except (ConnectionError, EOFError) as error:
            self.kill()
            raise LostError(f"ended its process ({_words(self._process.wait(_END_SECONDS))})") from error

    def _missed(self) -> LateError | LostError:
        """Have the process write its stack, and return what to raise."""
        if state(self.pid) in _STOPPED:
            return LostError("has a process that was stopped by a signal")
        self._process.send_signal(host.STACK_SIGNAL)
        time.sleep(_STACK_SECONDS)
        return LateError(late(self._timeout))


def _start(connection: int, clock: int, output: Path | None) -> subprocess.Popen[bytes]:
    search_path = [entry or os.getcwd() for entry in sys.path]
    command = [sys.executable, "-P", "-m", host.__name__, str(connection), str(clock)]
    with _opened(output) as printed:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(connection, clock),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _opened(output: Path | None) -> IO[bytes]:
    if output is None:
        return os.fdopen(os.dup(_STDERR), "ab")
    return output.open("ab")


@cache
def _starter() -> ThreadPoolExecutor:
    """Return the thread that starts all processes: they die with it, and it lives as long as this process."""
    return ThreadPoolExecutor(1, thread_name_prefix="reward-functions")


def _resident_mb(pid: int) -> float:
    """Return the memory of a process that lies in RAM, MiB; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended, and leave it to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"{signal.Signals(-code).name}{', as when memory runs out' if -code == signal.SIGKILL else ''}"
