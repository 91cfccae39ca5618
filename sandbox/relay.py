"""Follow one child: pass its output to the host, enforce its limits, report how it ended."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import signal
import time
from typing import Any

from sandbox import kernel, protocol

_DEATH_S = 5.0
_MIN_POLL_MS = 2


class ResultCounter:
    """Counts complete results in a byte stream without keeping their bytes."""

    def __init__(self, max_length: int) -> None:
        self.complete = 0
        self.too_long = False
        self._max = max_length
        self._length = 0
        self._length_bytes = 0
        self._missing = 0

    def feed(self, data: memoryview) -> int:
        """How many results became complete."""
        before = self.complete
        position = 0
        while position < len(data):
            if self._missing == 0:
                self._length |= data[position] << (8 * self._length_bytes)
                self._length_bytes += 1
                position += 1
                if self._length_bytes == protocol.RESULT_LENGTH.size:
                    self._missing, self._length, self._length_bytes = self._length, 0, 0
                    self.too_long |= self._missing > self._max
                    self.complete += self._missing == 0
            else:
                taken = min(self._missing, len(data) - position)
                position += taken
                self._missing -= taken
                self.complete += self._missing == 0
        return self.complete - before


class _Run:
    """Book-keeping of one child."""

    def __init__(self, pid: int, header: dict[str, Any]) -> None:
        limits = header["limits"]
        self.pid = pid
        self.cpu_limit, self.wall_limit = float(limits["cpu_s"]), float(limits["wall_s"])
        self.out_limit = int(limits["out_bytes"])
        self.max_results = int(header["results"])
        self.keep_output = bool(header["keep_output"])
        self.results = ResultCounter(self.out_limit + protocol.RESULT_SLACK)
        self.why = ""
        self.out_used = 0
        self.marks: list[tuple[float, float]] = []
        self.started = self.mark_wall = time.monotonic()
        self.mark_cpu = 0.0
        self.final_cpu: float | None = None  # known once the child is dead

    def mark(self) -> None:
        """One more result: the next case's clocks start here."""
        cpu = self.final_cpu if self.final_cpu is not None else kernel.process_cpu_s(self.pid)
        wall = time.monotonic()
        self.marks.append((round(cpu - self.mark_cpu, 6), round(wall - self.mark_wall, 6)))
        self.mark_cpu, self.mark_wall, self.out_used = cpu, wall, 0

    def time_left(self) -> float:
        cpu = self.cpu_limit - (kernel.process_cpu_s(self.pid) - self.mark_cpu)
        wall = self.wall_limit - (time.monotonic() - self.mark_wall)
        if cpu <= 0:
            self.why = "cpu"
        elif wall <= 0:
            self.why = "wall"
        return min(cpu, wall)


class Relay:
    """Owns the buffer that children do not inherit."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 2 * protocol.CHUNK)
        self._map.madvise(mmap.MADV_DONTFORK)
        self._buffer = memoryview(self._map)

    def send_json(self, kind: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        _write_all(memoryview(protocol.FRAME.pack(kind, len(body)) + body))

    def follow(self, pid: int, pipes: list[int], header: dict[str, Any]) -> dict[str, Any]:
        """Until the child is dead and its pipes are empty. Returns the body of the END frame."""
        run = _Run(pid, header)
        child_fd = os.pidfd_open(pid)
        sources = dict(zip(pipes, (protocol.STDOUT, protocol.STDERR, protocol.RESULT), strict=True))
        poll = select.poll()
        for fd in sources:
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
            poll.register(fd, select.POLLIN)
        poll.register(child_fd, select.POLLIN)
        poll.register(0, 0)  # only to hear that the host is gone
        ended = False
        while not ended and not run.why:
            left_ms = int(run.time_left() * 1000)
            if run.why:
                break
            for fd, _ in poll.poll(max(_MIN_POLL_MS, left_ms)):
                if fd == 0:
                    os._exit(0)
                if fd == child_fd:
                    ended = True
                elif not self._pass_on(run, fd, sources[fd]):
                    poll.unregister(fd)
        os.kill(pid, signal.SIGKILL)
        if not select.select([child_fd], [], [], _DEATH_S)[0]:
            os._exit(1)
        _, status, usage = os.wait4(pid, 0)
        run.final_cpu = usage.ru_utime + usage.ru_stime
        for fd, kind in sources.items():
            while not run.why and self._pass_on(run, fd, kind):
                pass
            os.close(fd)
        os.close(child_fd)
        if run.results.complete == 0:
            run.why = "setup"
        return {
            "why": run.why or "exit",
            "status": os.waitstatus_to_exitcode(status),
            "cpu": run.final_cpu,
            "wall": time.monotonic() - run.started,
            "peak_kb": usage.ru_maxrss,
            "marks": run.marks,
        }

    def _pass_on(self, run: _Run, fd: int, kind: int) -> bool:
        """Move one chunk. False when there is nothing more to read."""
        offset = protocol.FRAME.size
        try:
            size = os.readv(fd, [self._buffer[offset : offset + protocol.CHUNK]])
        except BlockingIOError:
            return run.final_cpu is None  # alive: more may come
        if size == 0:
            return False
        data = self._buffer[offset : offset + size]
        if kind == protocol.RESULT:
            for _ in range(run.results.feed(data)):
                run.mark()
            if run.results.too_long or run.results.complete > run.max_results:
                run.why = "output"
                return False
        else:
            run.out_used += size
            if run.out_used > run.out_limit:
                run.why = "output"
                return False
            if not run.keep_output and run.results.complete:
                return True
        protocol.FRAME.pack_into(self._map, 0, kind, size)
        _write_all(self._buffer[: offset + size])
        return True


def _write_all(data: memoryview) -> None:
    while data:
        data = data[os.write(1, data) :]
