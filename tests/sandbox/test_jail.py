"""Slots, retries, limits per case and life cycle of the jail backend."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sandbox.inside import values
from sandbox.inside.claims import Claim
from sandbox.inside.protocol import End
from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level, probe
from sandbox.link import Answer, LateError, SetupError, Slot, SlotError
from sandbox.pool import SlotPool
from sandbox.types import Case, Limits, Outcome, Program, SandboxUnavailable
from tests.sandbox import footprint, other_user

SHORT = Limits(cpu_s=0.3, wall_s=20.0)
DEADLINE_S = 60


@pytest.fixture(scope="module")
def sandbox():
    with JailSandbox(2) as shared:
        yield shared


def calls(source: str, *expressions: str) -> Program:
    return Program(source, tuple(Case(str(i), "call", call=text) for i, text in enumerate(expressions)))


def answers(runs) -> list[object]:
    return [values.decode(run.value) if run.outcome is Outcome.OK else run.outcome for run in runs]


def slot_pid(sandbox: JailSandbox) -> int:
    (pid,) = other_user.slot_pids(sandbox)
    return pid


def test_values_come_back(sandbox) -> None:
    expressions = [
        "f(None)",
        "f((1, 'é', b'x'))",
        "f({1: {2.5}})",
        "f(10**5000)",
        "f(range(3))",
        "f(float('inf'))",
    ]
    runs = sandbox.run(calls("def f(x): return x", *expressions), Limits())
    assert answers(runs) == [None, (1, "é", b"x"), {1: {2.5}}, 10**5000, range(3), float("inf")]
    assert [run.id for run in runs] == ["0", "1", "2", "3", "4", "5"]


def test_a_bad_case_leaves_the_others_alone(sandbox) -> None:
    source = """
import os
def f(x):
    if x == 1: os._exit(0)
    if x == 2:
        while True: pass
    if x == 3: return [0] * 10**12
    if x == 4: raise ValueError('four')
    if x == 5: os.abort()
    if x == 6: print('x' * 10**7)
    return x
"""
    runs = sandbox.run(calls(source, *(f"f({i})" for i in range(8))), SHORT)
    expected = [
        0,
        Outcome.ERROR,
        Outcome.TIMEOUT,
        Outcome.MEMORY,
        Outcome.ERROR,
        Outcome.CRASH,
        Outcome.OUTPUT,
        7,
    ]
    assert answers(runs) == expected
    assert runs[4].note == "ValueError: four"


def test_cases_share_one_execution_of_the_source(sandbox) -> None:
    runs = sandbox.run(calls("n = [0]\ndef f():\n    n[0] += 1\n    return n[0]", "f()", "f()", "f()"), Limits())
    assert answers(runs) == [1, 2, 3]


def test_each_case_has_the_whole_limit_of_cpu_time(sandbox) -> None:
    source = """
import time
def f(x):
    end = time.process_time() + 0.5
    while time.process_time() < end: pass
    return x
"""
    runs = sandbox.run(calls(source, "f(0)", "f(1)", "f(2)", "f(3)"), Limits(cpu_s=0.8, wall_s=60.0))
    assert answers(runs) == [0, 1, 2, 3]


def test_arguments_are_fresh(sandbox) -> None:
    runs = sandbox.run(calls("def f(x):\n    x.append(1)\n    return x", "f([])", "f([])"), Limits())
    assert answers(runs) == [[1], [1]]


def test_call_and_stdin_cases_keep_their_order(sandbox) -> None:
    cases = (Case("a", "stdin", stdin="1"), Case("b", "call", call="1 + 1"), Case("c", "stdin", stdin="2"))
    runs = sandbox.run(Program("print(input() if __name__ == '__main__' else 0)", cases), Limits())
    assert [(run.id, run.outcome) for run in runs] == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    assert (runs[0].stdout, runs[2].stdout) == (b"1\n", b"2\n")


def test_large_stdin(sandbox) -> None:
    (run,) = sandbox.run(Program("print(len(input()))", (Case("0", "stdin", stdin="x" * 5_000_000),)), Limits())
    assert run.stdout == b"5000000\n"


def test_a_program_without_cases(sandbox) -> None:
    assert sandbox.run(Program("1", ()), Limits()) == []


def test_callers_share_the_slots(sandbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: answers(sandbox.run(calls("", f"{i} * 2"), Limits())), range(40)))
    assert found == [[i * 2] for i in range(40)]


def test_minimum_level_is_refused_with_a_remedy() -> None:
    with pytest.raises(SandboxUnavailable, match="no sandbox of level 'jail' or better") as caught:
        JailSandbox(minimum_level=Level.JAIL, levels=[])
    assert "Run as root" in str(caught.value)


def test_probe_says_why_an_interpreter_does_not_work() -> None:
    found = probe("/bin/echo")
    assert found.level is None
    assert all(found.refused.values())
    assert set(found.refused) == set(Level)


class FakeSlot:
    """Answers, or fails, as scripted."""

    script: list[Exception | str]
    made = 0
    hello = {"byte_code": ""}  # noqa: RUF012

    def __init__(self) -> None:
        type(self).made += 1

    def ask(self, header, payload, given, deadline_s) -> Answer:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        end = End("exit", 0, cpu=0.1, wall=0.1, peak_kb=1, marks=[(0.0, 0.0)])
        return Answer(step.encode(), b"", [(b"R", b"")], end)

    def kill(self) -> None: ...

    terminate = kill


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (["fine"], Outcome.OK),
        ([SlotError("gone"), "fine"], Outcome.OK),
        ([SetupError("mount"), "fine"], Outcome.OK),
        ([SlotError("gone"), SlotError("gone")], Outcome.CRASH),
        ([SetupError("mount"), SetupError("mount")], Outcome.INFRA),
        ([LateError("late"), LateError("late")], Outcome.INFRA),
    ],
)
def test_broken_slots(monkeypatch, script, outcome) -> None:
    monkeypatch.setattr(FakeSlot, "script", list(script), raising=False)
    monkeypatch.setattr(FakeSlot, "made", 0)
    with SlotPool(FakeSlot) as fake:
        (run,) = fake.run(Program("", (Case("x", "stdin"),)), Limits())
    assert (run.id, run.outcome) == ("x", outcome)
    assert FakeSlot.made == len(script)


def test_no_slot_is_infra() -> None:
    def refuse() -> Slot:
        raise SlotError("no more processes")

    with SlotPool(refuse) as fake:
        (run,) = fake.run(Program("", (Case("x", "stdin"),)), Limits())
    assert run.outcome is Outcome.INFRA
    assert "no more processes" in run.note


def test_a_busy_sandbox_answers_infra_after_its_deadline() -> None:
    program = Program("", (Case("x", "stdin"),))
    taken, done = threading.Event(), threading.Event()

    class BusySlot(FakeSlot):
        script = ["fine"]  # noqa: RUF012

        def ask(self, header, payload, given, deadline_s) -> Answer:
            taken.set()
            assert done.wait(DEADLINE_S)
            return super().ask(header, payload, given, deadline_s)

    with SlotPool(BusySlot, slot_wait_s=0.01) as busy, ThreadPoolExecutor(1) as pool:
        first = pool.submit(busy.run, program, Limits())
        assert taken.wait(DEADLINE_S)
        (second,) = busy.run(program, Limits())
        done.set()
        (run,) = first.result(timeout=DEADLINE_S)
    assert (run.outcome, second.outcome) == (Outcome.OK, Outcome.INFRA)
    assert "no free slot" in second.note


def test_a_caller_that_has_heard_enough_skips_the_rest(sandbox) -> None:
    def bad(run) -> bool:
        return run.outcome is not Outcome.OK

    program = calls("def f(x): return 1 / x", "f(0)", "f(1)", "f(2)")
    runs = sandbox.run(replace(program, own_process=True), Limits(), stop_on=bad)
    assert answers(runs) == [Outcome.ERROR, Outcome.SKIPPED, Outcome.SKIPPED]
    runs = sandbox.run(program, Limits(), stop_on=bad)  # one process had run them all
    assert answers(runs) == [Outcome.ERROR, 1.0, 0.5]
    hangs = calls("def f(x):\n    while x: pass", "f(0)", "f(1)", "f(0)")
    assert answers(sandbox.run(hangs, SHORT, stop_on=bad)) == [None, Outcome.TIMEOUT, Outcome.SKIPPED]
    runs = sandbox.run(calls("def f(x): return 8 / x", "f(1)", "f(2)", "f(4)"), Limits(), stop_on=bad)
    assert answers(runs) == [8, 4, 2]


def test_a_process_for_each_case(sandbox) -> None:
    counting = calls("n = [0]\ndef f():\n    n[0] += 1\n    return n[0]", "f()", "f()")
    runs = sandbox.run(replace(counting, own_process=True), Limits())
    assert answers(runs) == [1, 1]


def test_a_killed_slot_is_replaced() -> None:
    with JailSandbox(1) as mortal:
        mortal.run(calls("", "1"), Limits())
        slot = slot_pid(mortal)
        family = [psutil.Process(pid) for pid in footprint.descendants(slot)]
        os.kill(slot, signal.SIGKILL)
        # The runner dies after the slot's first process, and may have time for one more answer.
        assert not psutil.wait_procs(family, timeout=30)[1]
        assert answers(mortal.run(calls("", "2"), Limits())) == [2]
        assert mortal.describe()["slot_restarts"] == 1


def test_close_ends_a_run_as_infra() -> None:
    closing = JailSandbox(1)
    closing.run(calls("", "1"), Limits())
    slot = slot_pid(closing)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(closing.run, calls("while True: pass", "1"), Limits(cpu_s=50, wall_s=50))
        _wait_for(lambda: len(footprint.descendants(slot)) > 1 or closing.describe()["level"] == "uid")
        closing.close()
        (run,) = running.result(timeout=DEADLINE_S)
    assert run.outcome is Outcome.INFRA
    closing.close()
    assert closing.run(calls("", "1"), Limits())[0].outcome is Outcome.INFRA


HOST = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from sandbox.jail.backend import JailSandbox
from sandbox.types import *
box = JailSandbox(1)
box.run(Program("", (Case("0", "call", call="1"),)), Limits())
slow = Program("while True: pass", (Case("0", "call", call="1"),))
threading.Thread(target=box.run, args=(slow, Limits(cpu_s=500, wall_s=500)), daemon=True).start()
print(box.live_slots()[0].pid, flush=True)
time.sleep(500)
"""


def test_a_killed_host_leaves_nothing() -> None:
    root = str(Path(__file__).resolve().parents[2])
    host = subprocess.Popen([sys.executable, "-c", HOST, root], stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout is not None
        slot = int(host.stdout.readline())
        family = [slot, *footprint.descendants(slot)]
    finally:
        host.kill()
        host.wait(timeout=DEADLINE_S)
        host.stdout.close()
    _wait_for(lambda: not any(_alive(pid) for pid in family))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"  # an orphan's zombie is its new parent's to collect


def _wait_for(condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_tests_may_take_from_an_endless_generator(sandbox) -> None:
    source = (
        "import itertools\ndef f(): return (n for n in itertools.count())\ndef g(n): return (i for i in range(n))"
    )
    script = "numbers = f()\nassert [next(numbers) for _ in range(3)] == [0, 1, 2]\nassert list(g(3)) == [0, 1, 2]"
    (run,) = sandbox.run(Program(source, (Case("0", "script", script=script),), exports=("f", "g")), Limits())
    claim = Claim.decode(run.value or b"")
    assert (claim.passed, claim.checks, claim.calls) == (True, 2, 2)


def test_no_descriptors_left_is_infra_and_passes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with JailSandbox(1) as starved:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
        try:
            (run,) = starved.run(calls("", "1"), Limits())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert run.outcome is Outcome.INFRA
        assert answers(starved.run(calls("", "2"), Limits())) == [2]
