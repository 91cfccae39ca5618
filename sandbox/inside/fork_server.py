"""The runner's end of a fork server: a child that is isolated once and forked for each program, or each input.

See :mod:`sandbox.inside.servers` for the servers themselves. Neither end trusts what was forked.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import time

from sandbox.inside import kernel, protocol

#: Asks the fork server of one program for a fork that writes to the pipes sent along.
FORK = b"f"
#: Says how a fork ended: its wait status; of struct rusage the seconds and microseconds of the program and of the
#: kernel for it, and the peak of memory in KiB; then the id of the next fork, 0 where none runs yet.
ENDED = struct.Struct("=i4x5q104xI")
#: Alone: the id of a fork just begun.
NEXT = struct.Struct("=I")
#: In place of the next one's id: there will be none, as the server ends.
NONE = (1 << 32) - 1


class ForkServer:
    """``pid``: of the server, a child of this process; ``channel``: a socket that keeps messages apart.

    That of one program may be asked for the next fork before the one that runs has ended, and then starts it at
    once. It ends by itself, with forks still asked for, when one has used the folder of programs.
    """

    def __init__(self, pid: int, channel: socket.socket, core: kernel.Core) -> None:
        self._pid = pid
        self._core = core
        self.channel = channel
        self.next_pid: int | None = None
        self.alive = True

    def ask(self, descriptors: list[int], message: bytes = FORK) -> None:
        """Ask it for a fork, which gets the ``descriptors``: its stdout, stderr and what it reports on."""
        self._core.share(self._pid)
        with contextlib.suppress(OSError):  # it is gone, which the wait for the fork's end will find
            socket.send_fds(self.channel, [message], descriptors)

    def fork(self) -> ServedFork:
        """Return the fork that runs or is about to."""
        pid, self.next_pid = self.next_pid, None
        return ServedFork(self, pid)

    def kill(self) -> None:
        """Kill the server and wait for it, once."""
        self.alive = False
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def close(self) -> None:
        """End the server, and a fork that it has started since, and close the channel."""
        if self.alive:
            self.kill()
        if self.next_pid is not None:
            end_orphan(self.next_pid)
        self.channel.close()


def end_orphan(pid: int) -> tuple[int, resource.struct_rusage] | None:
    """Kill a fork whose server is gone, and wait for it; None where the server had.

    Only now is it this process's own to wait for, and its id certain.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status), usage


class ServedFork:
    """Implements :class:`sandbox.inside.processes.Followed` for a fork, which the server waits for."""

    def __init__(self, server: ForkServer, pid: int | None) -> None:
        self._server = server
        self._pid = pid
        self._ended = False
        self._cpu = 0.0
        self.death = server.channel.fileno()
        self.peak_kb = 0

    def began(self, pid: int) -> None:
        self._pid = pid

    def hear_id_soon(self) -> None:
        """Wait a moment for the id, after which ``death`` means what it says."""
        select.select([self.death], [], [], protocol.SETUP_S)
        self.hear_id()

    def hear_id(self) -> None:
        """Take the id from a server that tells it as the fork begins, if it has come."""
        if self._pid is None and len(message := self._heard(socket.MSG_DONTWAIT)) == NEXT.size:
            (self._pid,) = NEXT.unpack(message)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end of a fork whose server tells its id; return whether it came."""
        deadline = time.monotonic() + seconds
        while select.select([self.death], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if self._pid is not None:
                return True
            self.hear_id()
            if self._pid is None:
                return True  # the server is gone
        return False

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
        message = self._heard(socket.MSG_DONTWAIT if broken else 0)
        if len(message) != ENDED.size:
            return self._kill()
        status, user_s, user_us, kernel_s, kernel_us, self.peak_kb, next_pid = ENDED.unpack(message)
        self._cpu = user_s + kernel_s + (user_us + kernel_us) / 1e6
        if next_pid == NONE:
            self._server.kill()
        else:
            self._server.next_pid = next_pid or None
        return os.waitstatus_to_exitcode(status)

    def _heard(self, flags: int) -> bytes:
        try:
            return self._server.channel.recv(ENDED.size, flags)
        except OSError:
            return b""

    def _kill(self) -> int:
        self._server.kill()
        ended = None if self._pid is None else end_orphan(self._pid)
        if ended is None:
            return -signal.SIGKILL
        status, usage = ended
        self._cpu = usage.ru_utime + usage.ru_stime
        self.peak_kb = usage.ru_maxrss
        return status
