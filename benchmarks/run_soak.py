"""A run of tiny steps for a while: do its processes grow, and does a step cost more in the end than at first?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from rich.table import Table

from common.errors import RunFailedError
from orchestrator.chaos.processes import ACTORS, GONE
from orchestrator.chaos.run_process import RunProcess, Steps
from orchestrator.fleet.embedded_redis import PROGRAM as REDIS_PROGRAM

_WINDOWS = 6
_START_SECONDS = 300.0
_TICK_SECONDS = 0.2
_STOPPED = 128 + signal.SIGTERM


@dataclass
class Footprint:
    """What the processes of one role take at one moment: resident bytes, open files, CPU seconds so far."""

    resident: int = 0
    files: int = 0
    cpu: float = 0.0


@dataclass
class Window:
    """One stretch of the soak: steps done in it, footprints at its end by role, and bytes of logs and records."""

    steps: int
    seconds: float
    roles: dict[str, Footprint]
    log_bytes: int
    cpu_per_step: dict[str, float] = field(default_factory=dict)


def run(
    arguments: Sequence[str], folder: Path, log: Path, seconds: float, said: Callable[[Window], None]
) -> list[Window]:
    """Start a run by ``couplet train`` with ``arguments``, watch it for ``seconds``, and stop it.

    Raises RunFailedError where it ends before, or does not stop.
    """
    process = RunProcess(arguments, folder, log)
    try:
        steps = Steps(folder)
        _until(process, steps, lambda: steps.now >= 5, _START_SECONDS)
        windows, before = [], _look(process, steps, folder, log)
        for _ in range(_WINDOWS):
            first, began = steps.now, time.monotonic()
            _until(process, steps, partial(_passed, began + seconds / _WINDOWS), seconds + 60)
            found = _look(process, steps, folder, log)
            found.steps, found.seconds = steps.now - first, time.monotonic() - began
            found.cpu_per_step = {
                role: (one.cpu - before.roles[role].cpu) / max(found.steps, 1) for role, one in found.roles.items()
            }
            windows.append(found)
            before = found
            said(found)
        os.kill(process.pid, signal.SIGTERM)
        if process.wait(60.0) != _STOPPED:
            raise RunFailedError(f"the run did not stop; see {log}")
    finally:
        process.kill()
    return windows


def _until(process: RunProcess, steps: Steps, done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        steps.poll()
        if process.exit_code is not None or time.monotonic() > end:
            raise RunFailedError(
                f"the run ended, or made no step in time; its last words:\n{process.last_words()}"
            )
        time.sleep(_TICK_SECONDS)


def _passed(end: float) -> bool:
    return time.monotonic() >= end


def _look(process: RunProcess, steps: Steps, folder: Path, log: Path) -> Window:
    steps.poll()
    roles = {"main": _footprint([psutil.Process(process.pid)])}
    roles |= {role: _footprint(process.processes.actors(role)) for role in ACTORS}
    roles["redis"] = _footprint(process.processes.server(REDIS_PROGRAM))
    roles["Ray"] = _footprint([one for name in ("raylet", "gcs_server") for one in process.processes.server(name)])
    size = log.stat().st_size + sum(file.stat().st_size for file in folder.glob("*.jsonl"))
    return Window(0, 0.0, roles, size)


def _footprint(processes: Sequence[psutil.Process]) -> Footprint:
    found = Footprint()
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                found.resident += process.memory_info().rss
                found.files += process.num_fds()
                found.cpu += times.user + times.system
        except GONE:
            continue
    return found


def view(windows: Sequence[Window]) -> Table:
    """Show the stretches: a leak is a column that grows from one to the next."""
    table = Table(caption="of a role: MiB resident / open files / CPU ms a step. logs: bytes a step")
    table.add_column("steps", justify="right")
    table.add_column("s a step", justify="right")
    roles = list(windows[0].roles)
    for role in roles:
        table.add_column(role, justify="right")
    table.add_column("logs", justify="right")
    before = None
    for window in windows:
        cells = [
            f"{window.roles[role].resident / 2**20:.0f} / {window.roles[role].files} / "
            f"{1000 * window.cpu_per_step.get(role, 0.0):.0f}"
            for role in roles
        ]
        grown = "" if before is None else f"{(window.log_bytes - before) / max(window.steps, 1):.0f}"
        before = window.log_bytes
        table.add_row(str(window.steps), f"{window.seconds / max(window.steps, 1):.3f}", *cells, grown)
    return table
