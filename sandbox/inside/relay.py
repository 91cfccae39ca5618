"""Follow one child: pass its output to the host, enforce its limits, report how it ended."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import struct
import time
from typing import Any

from sandbox.inside import kernel, protocol

_DEATH_S = 5.0
_MIN_POLL_MS = 2
_QUIET_MS = 8
_CLOSING_S = 1.0
_CLOSING_STEP_S = 0.002


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
        """Count the results in ``data`` and return how many became complete."""
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
    """The state of one program: of its process, or of the tests' and the solution's."""

    def __init__(self, pids: list[int], header: dict[str, Any]) -> None:
        limits = header["limits"]
        self.alive = list(pids)
        self.cpu_limit, self.wall_limit = float(limits["cpu_s"]), float(limits["wall_s"])
        self.out_limit = int(limits["out_bytes"])
        budget: tuple[float, float, int] = header["budget"]
        self.cpu_budget, self.wall_budget, self.bytes_budget = budget
        self.max_results = int(header["results"])
        self.keep_output = header["mode"] == "stdin"
        self.results = ResultCounter(self.out_limit + protocol.RESULT_SLACK)
        self.why = ""
        self.out_used = 0
        self.peak_kb = 0
        self.marks: list[tuple[float, float]] = []
        self.started = self.mark_wall = self.ready_wall = time.monotonic()
        self.mark_cpu = self.ready_cpu = 0.0
        self._reaped_cpu = 0.0

    def cpu(self) -> float:
        return self._reaped_cpu + sum(map(kernel.process_cpu_s, self.alive))

    def mark(self, count: int) -> None:
        """Record ``count`` more results, which share the time since the last, and restart the clocks."""
        self._mark_at(self.cpu(), time.monotonic(), count)
        self.out_used = 0

    def mark_ready(self, clocks: bytes) -> None:
        """Record the first result, READY, which carries its own time: until then nothing hostile ran."""
        cpu, wall = struct.unpack(protocol.CLOCKS, clocks)
        self._mark_at(cpu, wall, 1)
        self.ready_cpu, self.ready_wall = cpu, wall

    def _mark_at(self, cpu: float, wall: float, count: int) -> None:
        share = (round((cpu - self.mark_cpu) / count, 6), round((wall - self.mark_wall) / count, 6))
        self.marks += [share] * count
        self.mark_cpu, self.mark_wall = cpu, wall

    def time_left(self) -> float:
        used, now = self.cpu(), time.monotonic()
        if not self.marks:  # its limits are for what comes after READY
            setup = protocol.SETUP_S - (now - self.started)
            if setup <= 0:
                self.why = "setup"
            return setup
        cpu = self.cpu_limit - (used - self.mark_cpu)
        wall = self.wall_limit - (now - self.mark_wall)
        budget = min(self.cpu_budget - (used - self.ready_cpu), self.wall_budget - (now - self.ready_wall))
        if cpu <= 0:
            self.why = "cpu"
        elif wall <= 0:
            self.why = "wall"
        elif budget <= 0:
            self.why = protocol.BUDGET_TIME
        return min(cpu, wall, budget)

    def reap(self, pid: int, flags: int = 0) -> int | None:
        """Wait for a process and return its exit code, negative for a signal; None when WNOHANG finds it alive."""
        waited, status, usage = os.wait4(pid, flags)
        if not waited:
            return None
        self.alive.remove(pid)
        self._reaped_cpu += usage.ru_utime + usage.ru_stime
        self.peak_kb = max(self.peak_kb, usage.ru_maxrss)
        return os.waitstatus_to_exitcode(status)


class Relay:
    """Passes output on through one buffer, which children do not inherit."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 4 * protocol.CHUNK)
        self._map.madvise(mmap.MADV_DONTFORK)
        self._buffer = memoryview(self._map)
        self._used = 0

    def send(self, kind: int, body: bytes) -> None:
        """Send a frame after everything that was passed on before."""
        frame = protocol.FRAME.pack(kind, len(body)) + body
        self._make_room(len(frame))
        self._buffer[self._used : self._used + len(frame)] = frame
        self._used += len(frame)
        self._flush()

    def follow(self, pid: int, solution: int | None, pipes: list[int], header: dict[str, Any]) -> protocol.End:
        """Pass output on until ``pid``, which reports, and the ``solution`` are dead and their pipes are empty.

        Return how they ended.
        """
        pids = [pid] if solution is None else [pid, solution]
        run = _Run(pids, header)
        sources = dict(zip(pipes, (protocol.STDOUT, protocol.STDERR, protocol.RESULT), strict=True))
        for fd in sources:
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        death = os.pidfd_open(pid)
        if not _wait_quietly(death):
            self._listen(run, death, sources)
        status = _end(run, pid, solution, death)
        for fd, kind in sources.items():
            while not run.why and self._pass_on(run, fd, kind):
                pass
            os.close(fd)
        os.close(death)
        # Before READY nothing hostile runs, but for a solution beside the tests, which may flood.
        if run.results.complete == 0 and run.why not in ("output", protocol.BUDGET_BYTES):
            run.why = "setup"
        wall = time.monotonic() - run.started
        return protocol.End(run.why or "exit", status, run.cpu(), wall, run.peak_kb, run.marks)

    def _listen(self, run: _Run, death: int, sources: dict[int, int]) -> None:
        """Pass output on as it comes, until the reporting process is dead or a limit is broken."""
        poll = select.poll()
        for fd in (*sources, death):
            poll.register(fd, select.POLLIN)
        poll.register(0, 0)  # only to hear that the host is gone
        while True:
            left_ms = int(run.time_left() * 1000)
            if run.why:
                return
            for fd, _ in poll.poll(max(_MIN_POLL_MS, left_ms)):
                if fd == 0:
                    os._exit(0)
                if fd == death:
                    return
                if not self._pass_on(run, fd, sources[fd]):
                    poll.unregister(fd)

    def _pass_on(self, run: _Run, fd: int, kind: int) -> bool:
        """Move one chunk. Return False when there is nothing more to read."""
        self._make_room(protocol.FRAME.size + protocol.CHUNK)
        offset = self._used + protocol.FRAME.size
        try:
            size = os.readv(fd, [self._buffer[offset : offset + protocol.CHUNK]])
        except BlockingIOError:
            return bool(run.alive)  # alive: more may come
        if size == 0:
            return False
        data = self._buffer[offset : offset + size]
        if kind == protocol.RESULT:
            self._count(run, data)
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
        run.bytes_budget -= size
        if run.bytes_budget < 0:
            run.why = protocol.BUDGET_BYTES
            return False
        protocol.FRAME.pack_into(self._map, self._used, kind, size)
        self._used = offset + size
        return True

    def _count(self, run: _Run, data: memoryview) -> None:
        first = not run.results.complete
        count = run.results.feed(data)
        if first and count:
            clocks = protocol.RESULT_LENGTH.size + len(protocol.READY)
            run.mark_ready(bytes(data[clocks : clocks + struct.calcsize(protocol.CLOCKS)]))
            count -= 1
        if count:
            run.mark(count)

    def _make_room(self, size: int) -> None:
        if len(self._buffer) - self._used < size:
            self._flush()

    def _flush(self) -> None:
        data = self._buffer[: self._used]
        while data:
            data = data[os.write(1, data) :]
        self._used = 0


def _wait_quietly(death: int) -> bool:
    """Wait a moment for the end of a process without reading its output; return whether it ended.

    Most programs end at once, and this saves a wake-up for everything that they write.
    """
    poll = select.poll()
    poll.register(death, select.POLLIN)
    return bool(poll.poll(_QUIET_MS))


def _end(run: _Run, pid: int, solution: int | None, death: int) -> int:
    """Kill what still runs. Return the exit code that decides: of a solution that ended first, else of ``pid``."""
    own_end = None
    if solution is not None and not run.why and _exited(pid, protocol.GONE_EXIT):
        own_end = _reap_soon(run, solution)
    for each in run.alive:
        os.kill(each, signal.SIGKILL)
    if not select.select([death], [], [], _DEATH_S)[0]:
        os._exit(1)
    status = None
    for each in list(run.alive):
        code = run.reap(each)
        status = code if each == pid else status
    assert status is not None
    return status if own_end is None else own_end


def _exited(pid: int, code: int) -> bool:
    """Return whether a process exited by itself with that code; it stays to be reaped."""
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return info is not None and info.si_code == os.CLD_EXITED and info.si_status == code


def _reap_soon(run: _Run, pid: int) -> int | None:
    """Wait a moment for the exit code of a process that closed its socket; None when it does not end."""
    deadline = time.monotonic() + _CLOSING_S
    while (code := run.reap(pid, os.WNOHANG)) is None and time.monotonic() < deadline:
        time.sleep(_CLOSING_STEP_S)
    return code
