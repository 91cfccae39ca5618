"""The clock of the model: stations that work side by side, on cores of their own or on shared ones. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from orchestrator.planning.station import Station


class Machine:
    """Let stations work and tell which job ends next.

    Station ``i`` takes ``threads[i]`` cores while it has a job. Where all that work take more than ``cores``, each
    gets its share of them and slows down; None stands for cores of its own for each.
    """

    def __init__(self, stations: Sequence[Station], threads: Sequence[int], cores: float | None) -> None:
        self.now = 0.0
        self._stations = stations
        self._threads = threads
        self._cores = math.inf if cores is None else cores
        self._working = 0
        self._speed = 1.0
        self._events: list[tuple[float, int, int]] = []

    def begin(self, station: int, job: int, work: float) -> None:
        """Begin a job of a station now."""
        self._change(station)
        if not self._stations[station].jobs:
            self._working += self._threads[station]
        self._stations[station].begin(job, work)
        self._announce(station)

    def hold(self, station: int, seconds: float) -> None:
        """Let the jobs of a station rest for a while."""
        self._change(station)
        self._stations[station].hold(seconds)
        self._announce(station)

    def next_end(self) -> tuple[int, int]:
        """Go on to the end of the job that ends next; return its station and it. There must be one."""
        while True:
            time, station, epoch = heapq.heappop(self._events)
            if epoch == self._stations[station].epoch:
                break
        self.now = time
        self._change(station)
        job = self._stations[station].end()
        if not self._stations[station].jobs:
            self._working -= self._threads[station]
        self._announce(station)
        return station, job

    def busy_seconds(self, stations: range) -> float:
        """Return for how long these stations have worked so far, in all."""
        for station in stations:
            self._change(station)
        return sum(self._stations[station].busy_seconds for station in stations)

    def _change(self, station: int) -> None:
        self._stations[station].advance(self.now, self._speed)

    def _announce(self, station: int) -> None:
        """Put the next end of a changed station into the queue, and of all where the cores are shared anew."""
        speed = min(1.0, self._cores / max(self._working, 1))
        changed = range(station, station + 1)
        if speed != self._speed:
            changed = range(len(self._stations))
            for each in changed:
                self._change(each)
            self._speed = speed
        for each in changed:
            found = self._stations[each]
            if found.jobs:
                found.epoch += 1
                heapq.heappush(self._events, (found.next_end(speed), each, found.epoch))
