"""The processes of a local Ray, without which a run cannot go on: Ray would wait for them, or abort the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from common.config import RunSettings
from common.errors import UserError
from common.process_tree import children, program, state

_PROGRAMS = {"gcs_server": "its control store (gcs_server)", "raylet": "its node manager (raylet)"}


class RayLostError(UserError):
    """A process of the run's own Ray has died; the message names it."""


class RayProcesses:
    """The processes that this one has started as its local Ray; none where Ray was joined.

    One that stands still, stopped, for ``patience`` seconds is as good as dead, and is killed.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._found = {pid: name for pid in children() if (name := program(pid)) in _PROGRAMS}
        self._stopped: dict[int, float] = {}

    def check(self) -> None:
        """Raise RayLostError where one of them is gone, and end what it has left."""
        now = time.monotonic()
        for pid, name in self._found.items():
            if program(pid) != name:  # a process that has ended has no command line
                self._end_agents()
                raise RayLostError(_lost(pid, name, "has died, killed or out of memory perhaps"))
            if state(pid) != "stopped":
                self._stopped.pop(pid, None)
            elif now - self._stopped.setdefault(pid, now) >= self._patience:
                os.kill(pid, signal.SIGKILL)
                self._end_agents()
                raise RayLostError(_lost(pid, name, f"was stopped for {self._patience:.0f} s, and was killed"))

    def _end_agents(self) -> None:
        """Kill what the node manager has started: its agents wait a minute for a control store that is gone."""
        for pid in self._found:
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()


def _lost(pid: int, name: str, how: str) -> str:
    return (
        f"the run's Ray is lost: {_PROGRAMS[name]}, process {pid}, {how}; what was trained since the last "
        "checkpoint is lost; go on with --resume auto"
    )


def checking_ray(config: RunSettings, check_stop: Callable[[], None]) -> Callable[[], None]:
    """Return ``check_stop``, with a check of Ray's processes (RayLostError) where the run has its own Ray."""
    if config.ray.address != "local":
        return check_stop
    processes = RayProcesses(config.deadlines.heartbeat_seconds)

    def check() -> None:
        check_stop()
        processes.check()

    return check
