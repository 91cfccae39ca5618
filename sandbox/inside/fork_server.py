"""The runner's end of a program's fork server, a child that is isolated once and forked for each input.

See :func:`sandbox.inside.child.become_fork_server` for the server itself. Neither trusts what was forked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct

from sandbox.inside import kernel

#: Asks for a fork that writes to the pipes sent along.
FORK = b"f"
#: Says how the fork ended: its wait status, CPU seconds and peak memory in KiB.
ENDED = struct.Struct("<idQ")


class ForkServer:
    """``pid``: of the server, a child of this process; ``channel``: a socket that keeps messages apart."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self._pid = pid
        self.channel = channel
        self._alive = True

    def fork(self, pipes: list[int]) -> ServedFork:
        """Have it fork for its next input. The fork writes to ``pipes``: stdout, stderr and results."""
        with contextlib.suppress(OSError):  # it is gone, which the wait for the fork's end will find
            socket.send_fds(self.channel, [FORK], pipes)
        return ServedFork(self)

    def kill(self) -> int:
        """Kill the server and wait for it, once. Return its exit code, negative for a signal."""
        self._alive = False
        os.kill(self._pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def close(self) -> None:
        """End the server and close the channel."""
        if self._alive:
            self.kill()
        self.channel.close()


class ServedFork:
    """Implements :class:`sandbox.inside.processes.Followed` for a fork, which the server waits for."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._pid: int | None = None
        self._ended = False
        self._cpu = 0.0
        self.death = server.channel.fileno()
        self.peak_kb = 0

    def began(self, pid: int) -> None:
        self._pid = pid

    def cpu(self) -> float:
        if not self._ended and self._pid is not None:
            try:
                self._cpu = kernel.process_cpu_s(self._pid)
            except OSError:
                return self._cpu  # the server has waited for it, and its message says more
        return self._cpu

    def alive(self) -> bool:
        return not self._ended

    def end(self, broken: bool) -> int:
        """Hear how the fork ended; where a limit was broken or the server is gone, kill both."""
        self._ended = True
        if broken:
            self._server.channel.setblocking(False)
        try:
            message = self._server.channel.recv(ENDED.size)
        except OSError:
            message = b""
        if len(message) != ENDED.size:
            return self._kill()
        status, self._cpu, self.peak_kb = ENDED.unpack(message)
        return os.waitstatus_to_exitcode(status)

    def _kill(self) -> int:
        """Kill the server first: only then is the fork this process's own to wait for, and its id certain."""
        own_end = self._server.kill()
        if self._pid is None:
            return own_end
        try:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.kill(self._pid, signal.SIGKILL)
            _, status, usage = os.wait4(self._pid, 0)
        except ChildProcessError:
            return own_end
        self._cpu = usage.ru_utime + usage.ru_stime
        self.peak_kb = usage.ru_maxrss
        return os.waitstatus_to_exitcode(status)
