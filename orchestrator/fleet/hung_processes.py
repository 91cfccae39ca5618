"""Processes that hang: what they were doing is written down, and they are killed by their id.

Ray cannot kill a process that is stopped (SIGSTOP) or stands still in the kernel: it asks it to end itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    def end(self, beat: Beat | None) -> None:
        """Kill what may be left of an actor that Ray was told to kill; do not wait for it."""
        if beat is None:
            return
        if beat.node in ("", own_node()):
            end_process(beat.pid)
        else:
            _task(end_process, beat.node).remote(beat.pid)


def end_process(pid: int) -> None:
    """Kill an actor's process on this machine, if it is still there."""
    if _is_actor(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_process(pid: int) -> Remains:
    """Look at an actor's process on this machine, and kill it, if it is still there."""
    if not _is_actor(pid):
        return Remains("", "")
    status = Path(f"/proc/{pid}/status").read_text()
    state = next(line for line in status.splitlines() if line.startswith("State:"))
    stack, problem = _stack(pid)
    end_process(pid)
    return Remains(state.partition("(")[2].rstrip(")"), stack, problem)


def _is_actor(pid: int) -> bool:
    """Tell whether an actor of Ray's has this id: it may have ended, and another process have got the id."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except (FileNotFoundError, ProcessLookupError):
        return False


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
    remains: Remains = ray.get(_task(kill_process, beat.node).remote(beat.pid), timeout=_ELSEWHERE_SECONDS)
    return remains


def _task(function: Callable[[int], object], node: str) -> Any:
    """Make a task of Ray's that runs on a node."""
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=place)  # type: ignore[attr-defined]
