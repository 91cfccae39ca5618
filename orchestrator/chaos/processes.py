"""The processes of a run that another process has started, seen from outside."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

#: Everything that a run starts inherits this variable, with the run's mark in it.
MARK = "COUPLET_CHAOS_MARK"
#: Role of an actor -> how Ray titles its process.
ACTORS = {"rollout": "RolloutWorker", "reward": "RewardWorker", "learner": "LearnerRank"}

_SHARED_MEMORY = Path("/dev/shm")
#: What a look at a process raises that has ended, or is another user's by now.
GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


class RunProcesses:
    """Find the processes of the run whose main process is ``main``, and what it leaves behind."""

    def __init__(self, main: int, mark: str) -> None:
        self._main = psutil.Process(main)
        self._mark = mark
        self._seen: dict[int, psutil.Process] = {}

    def actors(self, role: str) -> list[psutil.Process]:
        """Return the processes of a role's actors."""
        title = f"ray::{ACTORS[role]}"
        return [process for process in self._family() if _command(process).startswith(title)]

    def server(self, program: str) -> list[psutil.Process]:
        """Return the processes of a program by its file name, such as ``raylet`` or ``valkey-server``."""
        return [process for process in self._family() if Path(_command(process).split(" ")[0]).name == program]

    def left(self, seconds: float) -> list[str]:
        """Wait until nothing is left of a run that has ended; return what is after ``seconds``."""
        end = time.monotonic() + seconds
        while (found := [*self._processes_left(), *self._shared_memory_left()]) and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def kill_all(self) -> None:
        """End what is left of the run."""
        for process in self._marked():
            try:
                process.kill()
            except GONE:
                continue

    def _family(self) -> list[psutil.Process]:
        try:
            found = self._main.children(recursive=True)
        except GONE:
            return []
        self._seen |= {process.pid: process for process in found}
        return found

    def _processes_left(self) -> list[str]:
        """Return what is alive of what was seen, or has the run's mark; Redis writes its title over its own."""
        alive = {pid: process for pid, process in self._seen.items() if process.is_running()}
        alive |= {process.pid: process for process in self._marked()}
        return [f"process {pid} ({_command(process)[:60]})" for pid, process in alive.items()]

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._mark:
                    yield process
            except GONE:
                continue

    def _shared_memory_left(self) -> list[str]:
        """Return the files of shared memory that have the number of one of the run's processes in their names."""
        names = os.listdir(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else []
        numbers = {name: set(map(int, re.findall(r"\d+", name))) for name in names}
        return [f"{_SHARED_MEMORY / name}" for name in names if numbers[name] & self._seen.keys()]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except GONE:
        return ""
