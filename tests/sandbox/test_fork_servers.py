"""The processes that programs are forked from: kept between programs, and out of their reach."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sandbox.inside import values
from sandbox.inside.claims import Claim
from sandbox.inside.kernel import CAP_SETGID, CAP_SETUID
from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level
from sandbox.types import Case, CaseRun, Limits, Outcome, Program
from tests.sandbox import footprint, levels, other_user

RIGHTS = """
def rights():
    with open("/proc/self/status") as file:
        found = dict(line.split(":", 1) for line in file)
    return [found[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")]
"""
NONE = ["0" * 16] * 4
LIMITED = [*NONE, "1", "2"]
HANGS = Limits(cpu_s=0.2, wall_s=10.0)


@pytest.fixture
def sandbox() -> Iterator[JailSandbox]:
    with JailSandbox(1) as jail:
        if not jail.describe()["proc"]:
            pytest.skip("no /proc in the jail")
        yield jail


def value(sandbox: JailSandbox, source: str, call: str, limits: Limits | None = None) -> object:
    (run,) = sandbox.run(Program(source, (Case("0", "call", call=call),)), limits or Limits())
    return values.decode(run.value) if run.outcome is Outcome.OK and run.value is not None else run.outcome


def judged(sandbox: JailSandbox, source: str, script: str) -> CaseRun:
    (run,) = sandbox.run(Program(source, (Case("0", "script", script=script),), exports=("rights",)), Limits())
    return run


def servers(sandbox: JailSandbox) -> list[int]:
    """The fork servers that are alive, which are the runner's children."""
    (slot,) = sandbox.live_slots()
    assert hasattr(slot, "pid")
    _, _runner, *below = [slot.pid, *footprint.descendants(slot.pid)]
    return [pid for pid in below if "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()]


def test_no_program_has_a_capability(sandbox: JailSandbox) -> None:
    assert value(sandbox, RIGHTS, "rights()") == LIMITED
    inputs = tuple(Case(str(index), "stdin", stdin="") for index in range(2))
    runs = sandbox.run(Program(f"{RIGHTS}print(rights())", inputs), Limits())
    assert [run.stdout.decode().strip() for run in runs] == [str(LIMITED)] * 2
    script = f"{RIGHTS.replace('rights', 'own')}assert own() == {LIMITED}\nassert rights() == {LIMITED}"
    run = judged(sandbox, RIGHTS, script)
    assert run.value is not None
    assert Claim.decode(run.value).passed


def test_a_server_outlives_programs_and_may_do_no_more_than_change_the_user(sandbox: JailSandbox) -> None:
    value(sandbox, "", "1")
    (before,) = servers(sandbox)
    value(sandbox, "def f(): raise ValueError", "f()")
    value(sandbox, "import os", "os._exit(3)")
    assert servers(sandbox) == [before]
    status = Path(f"/proc/{before}/status").read_text()
    allowed = 1 << CAP_SETGID | 1 << CAP_SETUID if sandbox.describe()["level"] == "jail" else 0
    assert f"CapPrm:\t{allowed:016x}" in status
    assert f"CapInh:\t{0:016x}" in status


def test_a_new_server_after_a_program_that_ran_out_of_time(sandbox: JailSandbox) -> None:
    value(sandbox, "", "1", HANGS)
    (before,) = servers(sandbox)
    assert value(sandbox, "while True: pass", "1", HANGS) is Outcome.TIMEOUT
    assert value(sandbox, "", "1", HANGS) == 1
    assert before not in servers(sandbox)
    assert sandbox.describe()["slot_restarts"] == 0


def test_a_new_server_after_tests_that_used_their_folder(sandbox: JailSandbox) -> None:
    script = "import os\nassert os.listdir('/tmp') == []\nopen('/tmp/left', 'w').close()\nassert rights()"
    for _ in range(2):
        run = judged(sandbox, RIGHTS, script)
        assert run.value is not None
        assert Claim.decode(run.value).passed
    assert sandbox.describe()["slot_restarts"] == 0


def test_a_solution_that_lingers_when_its_tests_have_ended(sandbox: JailSandbox) -> None:
    lingers = f"{RIGHTS}import os, time\nos._exit = lambda code: time.sleep(60)\n"
    for _ in range(2):
        run = judged(sandbox, lingers, "assert rights()")
        assert run.value is not None
        assert Claim.decode(run.value).passed
    assert sandbox.describe()["slot_restarts"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="level uid needs root")
def test_a_program_at_level_uid_dies_with_its_runner() -> None:
    """No namespace ends it, and the server that it is forked from is of another user."""
    python = levels.public_python()
    if python is None:
        pytest.skip("no interpreter that every user may run")
    with JailSandbox(1, levels=[Level.UID], python=python) as sandbox, ThreadPoolExecutor(1) as thread:
        sleeps = Program("import time\ntime.sleep(60)\n", (Case("0", "stdin"),))
        assert value(sandbox, "def one(): return 1", "one()") == 1  # the slot is there now
        (pid,) = other_user.slot_pids(sandbox)
        thread.submit(sandbox.run, sleeps, Limits(wall_s=3.0))
        deadline = time.monotonic() + 30.0
        while len(below := psutil.Process(pid).children(recursive=True)) < 2:
            assert time.monotonic() < deadline, "the program did not start"
            time.sleep(0.05)
        time.sleep(0.5)  # so that it has changed its user
        psutil.Process(pid).kill()
        assert psutil.wait_procs(below, timeout=2.0)[1] == []
