"""Control groups of this machine, where it has writable ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.jail import cgroups
from sandbox.jail.cgroups import Cgroup, CgroupsUnavailable

DEADLINE_S = 30
MIB = 1 << 20
JOIN = """
import os, sys
for procs_file in sys.argv[1:]:
    with open(procs_file, "w") as file:
        file.write("0")
"""
HOG = f"{JOIN}\nkept = [os.urandom(1 << 20) for _ in range(200)]\n"
SPAWN = f"{JOIN}\nfor _ in range(20):\n    if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
#: Counts the groups of its own process while a sandbox is open, and after.
USED = """
import os
from sandbox.jail import cgroups
from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, Limits, Outcome, Program

def mine():
    return sum(len(list(each.folder.glob(f"couplet-{os.getpid()}-*"))) for each in cgroups.hierarchies())

with JailSandbox(1) as sandbox:
    (run,) = sandbox.run(Program("", (Case("0", call="1"),)), Limits())
    assert run.outcome is Outcome.OK, run
    during = mine()
print(during, mine())
"""


@pytest.fixture
def group():
    try:
        made = Cgroup(999, tasks=8)
    except CgroupsUnavailable as error:
        pytest.skip(str(error))
    yield made
    made.remove()


def run(group: Cgroup, code: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *group.procs_files()]
    return subprocess.run(command, capture_output=True, input=b"", timeout=DEADLINE_S, check=False)


def left() -> set[Path]:
    return {path for each in cgroups.hierarchies() for path in each.folder.glob("couplet-*")}


def test_memory_is_bounded_for_all_together(group: Cgroup) -> None:
    group.allow(100 * MIB)
    assert run(group, HOG).returncode == -9
    group.allow(400 * MIB)
    assert run(group, HOG).returncode == 0
    group.allow(100 * MIB)
    assert run(group, HOG).returncode == -9


def test_tasks_are_bounded(group: Cgroup) -> None:
    done = run(group, SPAWN)
    assert done.returncode == 1
    assert b"BlockingIOError" in done.stderr


def test_what_the_dead_left_is_removed_and_what_lives_is_not(group: Cgroup) -> None:
    folder = cgroups.hierarchies()[0].folder
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = cgroups.start_time(dead.pid)
    dead.wait(timeout=DEADLINE_S)
    orphan = folder / f"couplet-{dead.pid}-{started}-0"
    reused = folder / f"couplet-{os.getpid()}-12-0"  # the number of a process that is not the one it was
    orphan.mkdir()
    reused.mkdir()
    alive = {path for path in left() if path.name.split("-")[1] == str(os.getpid())}
    assert not orphan.exists()
    assert not reused.exists()
    assert any(path.name.endswith("-999") for path in alive)


def test_a_sandbox_removes_its_groups(group: Cgroup) -> None:
    # In a process of its own: other sandboxes of this one, and of other processes, come and go meanwhile.
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, timeout=DEADLINE_S, check=True)
    during, after = map(int, done.stdout.split())
    assert during > 0
    assert after == 0
