"""Processes that hang are told apart from others, looked at and killed; those of a local Ray are watched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from common.heartbeat import Beat
from orchestrator.fleet.hung_processes import HungProcesses
from orchestrator.fleet.ray_processes import RayLostError, RayProcesses

LONG = 30.0
StartSleep = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start_sleep() -> Iterator[StartSleep]:
    """Starts processes that do nothing, under any title."""
    started: list[subprocess.Popen[bytes]] = []

    def start(title: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([title, str(LONG)], executable="/bin/sleep"))
        end = time.monotonic() + LONG
        while not Path(f"/proc/{started[-1].pid}/cmdline").read_bytes().startswith(title.encode()):
            assert time.monotonic() < end  # it is not yet the program that it is to run
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(LONG)


def beat(pid: int) -> Beat:
    return Beat(pid, "", "denoising", 0.0, 1.0, waits=False)


def test_a_stopped_actor_is_described_and_killed(start_sleep: StartSleep, tmp_path: Path) -> None:
    process = start_sleep("ray::RolloutWorker.run")
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    found = HungProcesses(tmp_path / "stacks").kill("rollout-0", beat(process.pid)).wait()
    assert found.startswith(f"process {process.pid} was stopped; no stack: py-spy"), "it runs no Python"
    assert process.wait(LONG) == -signal.SIGKILL
    assert HungProcesses(None).kill("rollout-0", beat(process.pid)).poll() == f"process {process.pid} was gone"


def test_a_process_that_is_no_actor_is_left_alone(start_sleep: StartSleep) -> None:
    """The actor may have ended, and another process have got its id."""
    process = start_sleep("somebody-elses")
    hung = HungProcesses(None)
    assert hung.kill("rollout-0", beat(process.pid)).poll() == f"process {process.pid} was gone"
    hung.end(beat(process.pid))
    assert process.poll() is None


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_process_of_the_runs_own_ray_that_dies_is_named(start_sleep: StartSleep, name: str) -> None:
    others = [start_sleep(title) for title in ("dashboard", "/anywhere/raylet", "/anywhere/gcs_server")]
    process = start_sleep(f"/ray/{name}")
    watched = RayProcesses(patience=0.0)
    others[0].kill()
    watched.check()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # Ray does not wait for it either
    with pytest.raises(RayLostError, match=rf"\({name}\), process {process.pid}, has died.*--resume auto"):
        watched.check()


def test_what_the_node_manager_started_ends_with_the_runs_own_ray(start_sleep: StartSleep) -> None:
    """Its agents would wait for the control store, and outlive the run."""
    store = start_sleep("/ray/gcs_server")
    with subprocess.Popen(["/ray/raylet", "-c", "sleep 100 & wait"], executable="/bin/sh") as manager:
        try:
            parent = psutil.Process(manager.pid)
            end = time.monotonic() + LONG
            while not (agents := parent.children()):
                assert time.monotonic() < end
            watched = RayProcesses(patience=0.0)
            store.kill()
            os.waitid(os.P_PID, store.pid, os.WEXITED | os.WNOWAIT)
            with pytest.raises(RayLostError):
                watched.check()
            assert psutil.wait_procs(agents, timeout=LONG)[1] == []
        finally:
            manager.kill()


def test_a_process_of_the_runs_own_ray_that_is_stopped_for_long_is_named_and_killed(
    start_sleep: StartSleep,
) -> None:
    process = start_sleep("/ray/raylet")
    patient, watched = RayProcesses(patience=LONG), RayProcesses(patience=0.0)
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    patient.check()
    with pytest.raises(RayLostError, match=rf"process {process.pid}, was stopped for 0 s, and was killed"):
        watched.check()
    assert process.wait(LONG) == -signal.SIGKILL
