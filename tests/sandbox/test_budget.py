"""What all cases of one program may take together, and the end of a run that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sandbox.cancellation import Cancellation
from sandbox.inside import values
from sandbox.jail.backend import JailSandbox
from sandbox.types import Budget, Case, Limits, Outcome, Program

_SHORT = Limits(cpu_s=0.1, wall_s=20.0)
_HANGS = "def f(x):\n    while x: pass\n    return x"
_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[JailSandbox]:
    with JailSandbox(1) as shared:
        yield shared


def _calls(source: str, count: int, call: str = "f({})") -> Program:
    return Program(source, tuple(Case(str(i), call=call.format(i)) for i in range(count)))


def _works(sandbox: JailSandbox) -> bool:
    (run,) = sandbox.run(Program("", (Case("0", call="6 * 7"),)), Limits())
    return run.outcome is Outcome.OK and values.decode(run.value or b"") == 42


@pytest.mark.parametrize("kind", ["call", "script", "stdin"])
def test_after_some_timeouts_the_rest_is_not_run(sandbox: JailSandbox, kind: str) -> None:
    program = {
        "call": _calls(_HANGS, 982, "f(1 + {})"),
        "script": Program(
            _HANGS, tuple(Case(str(i), "script", script="assert f(1)") for i in range(982)), exports=("f",)
        ),
        "stdin": Program("while True: pass", tuple(Case(str(i), "stdin", stdin=str(i)) for i in range(982))),
    }[kind]
    runs = sandbox.run(program, _SHORT)
    assert {run.outcome for run in runs} == {Outcome.TIMEOUT}
    assert ["not run" in run.note for run in runs] == [False] * 3 + [True] * 979


def test_fewer_timeouts_cost_only_their_own_cases(sandbox: JailSandbox) -> None:
    runs = sandbox.run(_calls("def f(x):\n    while x in (1, 3): pass\n    return x", 6), _SHORT)
    assert [run.outcome for run in runs] == ["ok", "timeout", "ok", "timeout", "ok", "ok"]


@pytest.mark.parametrize("own_process", [False, True])
def test_tests_that_are_slow_together_run_out_of_time(sandbox: JailSandbox, own_process: bool) -> None:
    source = """
import time
def f(x):
    end = time.process_time() + 0.1
    while time.process_time() < end: pass
    return x
"""
    program = replace(_calls(source, 100), own_process=own_process)
    runs = sandbox.run(program, Limits(), budget=Budget(cpu_s=0.55))
    outcomes = [run.outcome for run in runs]
    passed = outcomes.index(Outcome.TIMEOUT)
    assert 1 <= passed <= 5
    assert outcomes[passed:] == [Outcome.TIMEOUT] * (100 - passed)


def test_tests_that_sleep_together_run_out_of_time(sandbox: JailSandbox) -> None:
    program = _calls("import time\ndef f(x): time.sleep(0.2)", 100)
    runs = sandbox.run(program, Limits(), budget=Budget(wall_s=0.5))
    assert runs[-1].outcome is Outcome.TIMEOUT
    assert sum(run.outcome is Outcome.OK for run in runs) <= 2


@pytest.mark.parametrize("kind", ["call", "stdin"])
def test_results_that_are_large_together_are_too_much_output(sandbox: JailSandbox, kind: str) -> None:
    size = 900_000
    program = {
        "call": _calls(f"def f(x): return 'x' * {size}", 50),
        "stdin": Program(f"print('x' * {size})", tuple(Case(str(i), "stdin") for i in range(50))),
    }[kind]
    runs = sandbox.run(program, Limits(), budget=Budget(kept_bytes=4 << 20))
    assert [run.outcome for run in runs] == [Outcome.OK] * 4 + [Outcome.OUTPUT] * 46
    assert "in all tests together" in runs[-1].note


def test_a_limit_shorter_than_the_set_up_is_a_timeout_of_the_program(sandbox: JailSandbox) -> None:
    restarts = sandbox.describe()["slot_restarts"]
    program = Program("import time\ntime.sleep(9)", (Case("0", "stdin"), Case("1", "stdin")))
    for limits in (Limits(cpu_s=1e-7), Limits(wall_s=1e-7)):
        assert {run.outcome for run in sandbox.run(program, limits)} == {Outcome.TIMEOUT}
    assert sandbox.describe()["slot_restarts"] == restarts


def test_a_solution_that_floods_before_the_tests_are_ready_is_no_failure_of_ours(sandbox: JailSandbox) -> None:
    restarts = sandbox.describe()["slot_restarts"]
    source = "import os\nwhile True: os.write(1, b'x' * 65536)\n"
    cases = (Case("0", "script", script="assert f()"),)
    for _ in range(10):
        (run,) = sandbox.run(Program(source, cases, exports=("f",)), Limits(out_bytes=1 << 12))
        assert run.outcome is Outcome.OUTPUT
    assert sandbox.describe()["slot_restarts"] == restarts


def test_a_run_that_nobody_waits_for_ends(sandbox: JailSandbox) -> None:
    began = threading.Event()
    cancellation = Cancellation()

    def tell(_: object) -> bool:
        began.set()
        return False

    program = Program("def f(x):\n    while x: pass", tuple(Case(str(i), call=f"f({i})") for i in range(5)))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            sandbox.run,
            replace(program, own_process=True),
            Limits(cpu_s=500, wall_s=500),
            stop_on=tell,
            cancellation=cancellation,
        )
        assert began.wait(_PATIENCE_S)
        cancellation.cancel()
        runs = running.result(_PATIENCE_S)
    assert [run.outcome for run in runs] == [Outcome.OK] + [Outcome.INFRA] * 4
    assert _works(sandbox)
    (late,) = sandbox.run(Program("", (Case("0", call="1"),)), Limits(), cancellation=cancellation)
    assert late.outcome is Outcome.INFRA


def test_budgets_are_positive() -> None:
    with pytest.raises(ValueError, match="budget cpu_s must be positive"):
        Budget(cpu_s=float("nan"))
