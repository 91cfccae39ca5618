"""Processes that hang: what they were doing is written down, and they are killed by their id.

Ray cannot kill a process that is stopped (SIGSTOP) or stands still in the kernel: it asks it to end itself.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from common.actors import ACTOR_VARIABLE, own_node
from common.heartbeat import Beat
from common.process_tree import having_in_environment, program, state
from orchestrator.fleet.forking.process import forked_for

_STACK_SECONDS = 10.0
_TICK_SECONDS = 0.1
#: On another machine: a worker process of Ray's may have to start there first.
_ELSEWHERE_SECONDS = 15.0


@dataclass(frozen=True)
class Remains:
    """What was found of a process before it was killed: its state by the kernel, and the stacks of its threads.

    ``stack`` is empty where ``problem`` says why there is none.
    """

    state: str
    stack: str
    problem: str = ""


class Killing:
    """A hung actor that is being looked at and killed, on its node; its stacks go into ``folder``, if any.

    ``task`` is the task of Ray's that does it on another machine; None where that is this one.
    """

    def __init__(self, actor: str, beat: Beat, folder: Path | None, task: Any) -> None:
        self._actor = actor
        self._beat = beat
        self._folder = folder
        self._task = task
        self._end = time.monotonic() + _ELSEWHERE_SECONDS

    def poll(self) -> str | None:
        """Return what was found of it, for a note, once it has been killed or cannot be reached; None before."""
        if self._task is None:
            return self._describe(kill_process(self._beat.pid))
        if ray.wait([self._task], timeout=0)[0]:
            try:
                return self._describe(ray.get(self._task, timeout=1.0))
            except (RayError, GetTimeoutError) as error:
                return f"its node could not look at process {self._beat.pid}: {type(error).__name__}"
        if time.monotonic() > self._end:
            return f"its node does not answer for {_ELSEWHERE_SECONDS:.0f} s"
        return None

    def wait(self) -> str:
        """Wait for the end of :meth:`poll`, and return what it returns."""
        while (found := self.poll()) is None:
            time.sleep(_TICK_SECONDS)
        return found

    def _describe(self, remains: Remains) -> str:
        pid = self._beat.pid
        found = f"process {pid} was {remains.state}" if remains.state else f"process {pid} was gone"
        if not remains.stack:
            return f"{found}; no stack: {remains.problem}" if remains.problem else found
        if self._folder is None:
            return found
        file = self._folder / f"{self._actor}-{pid}.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{self._actor}, {self._beat.what}: {found}\n\n{remains.stack}")
        except OSError as error:
            return f"{found}; its stack could not be written: {error}"
        return f"{found}; its stack is in {self._folder.name}/{file.name}"


class HungProcesses:
    """Write the stacks of hung actors into ``folder`` (into none where it is None), and kill them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, actor: str) -> Beat | None:
        """Find the process of an actor that has not answered yet, in the place of its first answer.

        Returns None where there is none on this machine.
        """
        mark = f"{ACTOR_VARIABLE}={ray.get_runtime_context().namespace}/{actor}".encode()
        pid = next(filter(_is_actor, map(forked_for, having_in_environment(mark))), None)
        return None if pid is None else Beat(pid, own_node(), "starting", 0.0, math.inf, waits=False)

    def kill(self, actor: str, beat: Beat) -> Killing:
        """Begin to look at the process of ``actor``, on its node, and to kill it."""
        elsewhere = beat.node not in ("", own_node())
        task = _task(kill_process, beat.node).remote(beat.pid) if elsewhere else None
        return Killing(actor, beat, self._folder, task)

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
    found = state(pid)
    stack, problem = _stack(pid)
    end_process(pid)
    return Remains(found, stack, problem)


def _is_actor(pid: int) -> bool:
    """Tell whether an actor of Ray's has this id: it may have ended, and another process have got the id."""
    return program(pid).startswith("ray::")  # the title that Ray gives it


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


def _task(function: Callable[[int], object], node: str) -> Any:
    """Make a task of Ray's that runs on a node."""
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
