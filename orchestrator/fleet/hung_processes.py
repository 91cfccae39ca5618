"""Processes that hang: what they were doing is written down, and they are killed by their id.

Ray cannot kill a process that is stopped (SIGSTOP) or stands still in the kernel: it asks it to end itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from common.actors import own_node
from common.heartbeat import Beat

_STACK_SECONDS = 10.0
#: On another machine: a worker process of Ray's may have to start there first.
_ELSEWHERE_SECONDS = 30.0


@dataclass(frozen=True)
class Remains:
    """What was found of a process before it was killed: its state by the kernel, and the stacks of its threads.

    ``stack`` is empty where ``problem`` says why there is none.
    """

    state: str
    stack: str
    problem: str = ""


class HungProcesses:
    """Write the stacks of hung actors into ``folder`` (into none where it is None), and kill them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def kill(self, actor: str, beat: Beat) -> str:
        """Kill the process of ``actor``, on its node; return what was found of it, for a note."""
        try:
            remains = _on_node(beat) if beat.node not in ("", own_node()) else kill_process(beat.pid)
        except (RayError, GetTimeoutError) as error:
            return f"process {beat.pid} on another node could not be looked at: {type(error).__name__}"
        found = f"process {beat.pid} was {remains.state}" if remains.state else f"process {beat.pid} was gone"
        if not remains.stack:
            return f"{found}; no stack: {remains.problem}" if remains.problem else found
        if self._folder is None:
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{actor}-{beat.pid}.txt"
        file.write_text(f"{actor}, {beat.what}: {found}\n\n{remains.stack}")
        return f"{found}; its stack is in {self._folder.name}/{file.name}"


def kill_process(pid: int) -> Remains:
    """Look at an actor's process on this machine, and kill it. One that is no actor (any more) is left alone."""
    folder = Path("/proc", str(pid))
    try:
        if not folder.joinpath("cmdline").read_bytes().startswith(b"ray::"):
            return Remains("", "")
        status = folder.joinpath("status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Remains("", "")
    state = next(line for line in status.splitlines() if line.startswith("State:"))
    stack, problem = _stack(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        problem = problem or "it has ended meanwhile"
    return Remains(state.partition("(")[2].rstrip(")"), stack, problem)


def _stack(pid: int) -> tuple[str, str]:
    """Return the Python stacks of a process, or nothing and the reason."""
    py_spy = Path(sys.executable).with_name("py-spy")
    # Without pausing it: a stopped process cannot be paused, and this one makes no progress anyway.
    command = [str(py_spy), "dump", "--nonblocking", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_STACK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"py-spy: {error}"
    if done.returncode:
        return "", "; ".join(["py-spy may not look", *done.stderr.strip().splitlines()[:2]])
    return done.stdout, ""


def _on_node(beat: Beat) -> Remains:
    place = NodeAffinitySchedulingStrategy(beat.node, soft=False)
    task = ray.remote(kill_process).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
    remains: Remains = ray.get(task.remote(beat.pid), timeout=_ELSEWHERE_SECONDS)
    return remains
