"""Follow one child: pass its output to the host, enforce its limits, report how it ended."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import struct
import time
from dataclasses import dataclass
from typing import Any

from sandbox.inside import protocol
from sandbox.inside.processes import Followed

_MIN_POLL_MS = 2
# How long processes may run before their output is looked at. Those of a split judge take longer, and say little.
_QUIET_MS, _QUIET_SPLIT_MS = 8, 20


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


@dataclass
class Budget:
    """What all cases of a program may take together, and have left: seconds, and bytes that the host holds."""

    cpu_s: float
    wall_s: float
    kept_bytes: int

    def used_up(self) -> bool:
        """Return whether any of it is."""
        return min(self.cpu_s, self.wall_s, self.kept_bytes) <= 0


class _Run:
    """The state of one program: of its process, or of the tests' and the solution's."""

    def __init__(self, processes: Followed, header: dict[str, Any], budget: Budget) -> None:
        limits = header["limits"]
        self.processes = processes
        self.cpu_limit, self.wall_limit = float(limits["cpu_s"]), float(limits["wall_s"])
        self.out_limit = int(limits["out_bytes"])
        self.budget = budget
        self.max_results = int(header["results"])
        self.keep_output = header["mode"] == "stdin"
        self.results = ResultCounter(self.out_limit + protocol.RESULT_SLACK)
        self.why = ""
        self.out_used = 0
        self.marks: list[tuple[float, float]] = []
        self.started = self.mark_wall = self.ready_wall = time.monotonic()
        self.mark_cpu = self.ready_cpu = 0.0

    def mark(self, count: int) -> None:
        """Record ``count`` more results, which share the time since the last, and restart the clocks."""
        self._mark_at(self.processes.cpu(), time.monotonic(), count)
        self.out_used = 0

    def mark_ready(self, clocks: bytes) -> None:
        """Record the first result, READY, which carries its own time: until then nothing hostile ran."""
        cpu, wall, pid = struct.unpack(protocol.CLOCKS, clocks)
        self.processes.began(pid)
        self._mark_at(cpu, wall, 1)
        self.ready_cpu, self.ready_wall = cpu, wall

    def _mark_at(self, cpu: float, wall: float, count: int) -> None:
        share = (round((cpu - self.mark_cpu) / count, 6), round((wall - self.mark_wall) / count, 6))
        self.marks += [share] * count
        self.mark_cpu, self.mark_wall = cpu, wall

    def time_left(self) -> float:
        used, now = self.processes.cpu(), time.monotonic()
        if not self.marks:  # its limits are for what comes after READY
            setup = protocol.SETUP_S - (now - self.started)
            if setup <= 0:
                self.why = "setup"
            return setup
        cpu = self.cpu_limit - (used - self.mark_cpu)
        wall = self.wall_limit - (now - self.mark_wall)
        budget = min(self.budget.cpu_s - (used - self.ready_cpu), self.budget.wall_s - (now - self.ready_wall))
        if cpu <= 0:
            self.why = "cpu"
        elif wall <= 0:
            self.why = "wall"
        elif budget <= 0:
            self.why = protocol.BUDGET_TIME
        return min(cpu, wall, budget)

    def charge(self) -> None:
        """Take what was used since READY off the budget; bytes were when they were passed on."""
        self.budget.cpu_s -= self.processes.cpu() - self.ready_cpu
        self.budget.wall_s -= time.monotonic() - self.ready_wall


class Relay:
    """Passes output on through one buffer, which children do not inherit."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 4 * protocol.CHUNK)
        self._map.madvise(mmap.MADV_DONTFORK)
        self._buffer = memoryview(self._map)
        self._used = 0

    def send(self, kind: int, body: bytes, *, soon: bool = False) -> None:
        """Send a frame after everything that was passed on before.

        ``soon``: the host need not hear of it before the next one, or before a process that takes its time.
        """
        frame = protocol.FRAME.pack(kind, len(body)) + body
        self._make_room(len(frame))
        self._buffer[self._used : self._used + len(frame)] = frame
        self._used += len(frame)
        if not soon:
            self._flush()

    def follow(
        self, processes: Followed, pipes: list[int], header: dict[str, Any], budget: Budget
    ) -> protocol.End:
        """Pass output on until the processes are dead and the ``pipes`` from them are empty.

        Charge the budget. Return how they ended.
        """
        run = _Run(processes, header, budget)
        sources = dict(zip(pipes, (protocol.STDOUT, protocol.STDERR, protocol.RESULT), strict=True))
        for fd in sources:
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        quiet_ms = _QUIET_SPLIT_MS if header["mode"] == "split" else _QUIET_MS
        if not _wait_quietly(processes.death, quiet_ms):
            self._flush()
            self._listen(run, processes.death, sources)
        status = processes.end(broken=bool(run.why))
        for fd, kind in sources.items():
            while not run.why and self._pass_on(run, fd, kind):
                pass
            os.close(fd)
        # Before READY nothing hostile runs, but for a solution beside the tests, which may flood.
        if run.results.complete == 0 and run.why not in ("output", protocol.BUDGET_BYTES):
            run.why = "setup"
        run.charge()
        wall = time.monotonic() - run.started
        return protocol.End(run.why or "exit", status, processes.cpu(), wall, processes.peak_kb, run.marks)

    def _listen(self, run: _Run, death: int, sources: dict[int, int]) -> None:
        """Pass output on as it comes, until the reporting process is dead or a limit is broken."""
        poll = select.poll()
        poll.register(death, select.POLLIN)
        poll.register(0, 0)  # only to hear that the host is gone
        waiting = dict(sources)
        while True:
            for fd, kind in list(waiting.items()):
                # A solution may write before the tests beside it have read their part of the request. That it
                # floods is heard once they are ready, or the next request would be read from their part.
                if kind == protocol.RESULT or run.results.complete:
                    poll.register(fd, select.POLLIN)
                    del waiting[fd]
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
            return run.processes.alive()  # then more may come
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
        run.budget.kept_bytes -= size
        if run.budget.kept_bytes < 0:
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


def _wait_quietly(death: int, milliseconds: int) -> bool:
    """Wait a moment for the end of a process without reading its output; return whether it ended.

    Most programs end at once, and this saves a wake-up for everything that they write.
    """
    poll = select.poll()
    poll.register(death, select.POLLIN)
    return bool(poll.poll(milliseconds))
