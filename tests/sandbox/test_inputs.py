"""The inputs of one program, which run in forks of one process, end as if each had been run alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.types import Budget, Case, CaseRun, Limits, Outcome, Program
from tests.sandbox import footprint, levels

LIMITS = Limits(cpu_s=0.3, wall_s=20.0, memory_mb=256, out_bytes=1 << 16)
PATIENT = Budget(timeouts=100)
SOURCE = """
import glob, os, resource, signal, sys, tempfile, threading

kind = input()
home = tempfile.gettempdir()


def attempt(action, *arguments):
    try:
        return action(*arguments)
    except OSError:
        return None


if kind == "exits":
    sys.exit(7)
if kind == "raises":
    raise ValueError("no")
if kind == "dies hard":
    os._exit(3)
if kind == "crashes":
    os.abort()
if kind == "is terminated":
    os.kill(os.getpid(), signal.SIGTERM)
if kind == "hangs":
    while True: pass
if kind == "floods":
    print("x" * 10**6)
if kind == "takes memory":
    x = [0] * 10**10
if kind == "writes":
    open(home + "/left", "w").write("behind")
    os.mkdir(home + "/folder")
    os.chdir(home + "/folder")
if kind == "cleans up":
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"1")
if kind == "attacks":
    attempt(os.fork)
    for pid in (os.getppid(), os.getppid() + 1, os.getpid() - 1, 1, -1, 0):
        if pid != os.getpid():
            attempt(os.kill, pid, signal.SIGKILL)
            attempt(os.kill, pid, signal.SIGSTOP)
            attempt(resource.prlimit, pid or -1, resource.RLIMIT_NOFILE, (0, 0))
            attempt(open, f"/proc/{pid}/mem", "rb")
    for fd in range(3, 64):
        attempt(os.write, fd, b"f" * 20)
        attempt(os.close, fd)
if kind == "leaves a thread":
    threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
print(kind, sys.stdin.read(), sorted(os.listdir(home)), os.path.samefile(os.getcwd(), home), os.getcwd() == home)
"""
KINDS = (
    "prints",
    "exits",
    "raises",
    "prints",
    "dies hard",
    "crashes",
    "is terminated",
    "writes",
    "prints",
    "cleans up",
    "attacks",
    "hangs",
    "leaves a thread",
    "floods",
    "takes memory",
    "writes",
    "prints",
)
UNBALANCED = "x = (\n"


def program(source: str, *inputs: str) -> Program:
    return Program(source, tuple(Case(str(index), "stdin", stdin=text) for index, text in enumerate(inputs)))


def facts(run: CaseRun) -> tuple[object, ...]:
    return run.outcome, run.stdout, run.stderr, run.exit_code, run.note


@pytest.mark.parametrize("level", levels.NAMES)
def test_inputs_end_as_if_each_were_run_alone(backend_at: Callable[[str], levels.Backend], level: str) -> None:
    sandbox = backend_at(level).sandbox
    inputs = [f"{kind}\n{index}" for index, kind in enumerate(KINDS)]
    sandbox.run(program("", ""), LIMITS)  # starts the slot
    before = footprint.take(backend_at(level))
    runs = sandbox.run(program(SOURCE, *inputs), LIMITS, budget=PATIENT)
    alone = [sandbox.run(program(SOURCE, text), LIMITS)[0] for text in inputs]
    assert [facts(run) for run in runs] == [facts(run) for run in alone]
    outcomes = dict(zip(KINDS, (run.outcome for run in runs), strict=True))
    assert {kind for kind, outcome in outcomes.items() if outcome is Outcome.OK} == {
        "prints",
        "writes",
        "cleans up",
        "leaves a thread",
        "attacks",
    }
    assert Outcome.INFRA not in outcomes.values()
    assert sandbox.describe()["slot_restarts"] == 0
    sandbox.run(program("", ""), LIMITS)  # starts a fork server, if the last input ended it
    assert footprint.settled(backend_at(level), before) == before


def test_a_program_that_does_not_compile_says_so_for_each_input(
    backend_at: Callable[[str], levels.Backend],
) -> None:
    runs = backend_at(levels.STRONGEST).sandbox.run(program(UNBALANCED, "1", "2", "3"), LIMITS)
    assert {(run.outcome, run.note) for run in runs} == {(Outcome.ERROR, "SyntaxError: '(' was never closed")}


def test_nothing_is_started_after_what_the_caller_stops_on(backend_at: Callable[[str], levels.Backend]) -> None:
    if levels.STRONGEST == "namespaces":
        pytest.skip("a function does not cross to another user's sandbox")
    sandbox = backend_at(levels.STRONGEST).sandbox
    heard: list[str] = []

    def bad(run: CaseRun) -> bool:
        heard.append(run.id)
        return run.outcome is not Outcome.OK

    inputs = ["prints\n0", "prints\n1", "exits\n2", "prints\n3", "prints\n4"]
    runs = sandbox.run(program(SOURCE, *inputs), LIMITS, stop_on=bad)
    expected = [Outcome.OK, Outcome.OK, Outcome.ERROR, Outcome.SKIPPED, Outcome.SKIPPED]
    assert [run.outcome for run in runs] == expected
    assert set(heard) == {"0", "1", "2"}
    assert [run.outcome for run in sandbox.run(program(SOURCE, *inputs[:2]), LIMITS)] == [Outcome.OK] * 2


def test_what_the_inputs_take_together_is_bounded(backend_at: Callable[[str], levels.Backend]) -> None:
    sandbox = backend_at(levels.STRONGEST).sandbox
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint('x' * 1000)"
    runs = sandbox.run(program(busy, *"123456"), LIMITS, budget=Budget(cpu_s=0.5))
    assert [run.outcome for run in runs[:2]] == [Outcome.OK] * 2
    assert {run.outcome for run in runs[3:]} == {Outcome.TIMEOUT}
    runs = sandbox.run(program("print('x' * 1000)", *"123456"), LIMITS, budget=Budget(kept_bytes=2500))
    assert [run.outcome for run in runs[:2]] == [Outcome.OK] * 2
    assert {run.outcome for run in runs[2:]} == {Outcome.OUTPUT}


def test_more_input_than_a_fork_server_holds(backend_at: Callable[[str], levels.Backend]) -> None:
    sandbox = backend_at(levels.STRONGEST).sandbox
    sizes = (400_000, 400_000, 400_000, 3_000_000, 1)
    runs = sandbox.run(program("print(len(input()))", *("x" * size for size in sizes)), LIMITS)
    assert [int(run.stdout) for run in runs] == list(sizes)


def test_what_scripts_rely_on_is_there_for_each_input(backend_at: Callable[[str], levels.Backend]) -> None:
    source = """
import inspect, sys

class Parting:
    def __del__(self):
        print("goodbye")

def marker(): return "found"

kept = Parting()
print(input(), "marker" in open(__file__).read(), inspect.getsource(marker).strip())
"""
    sandbox = backend_at(levels.STRONGEST).sandbox
    runs = sandbox.run(program(source, *"123"), LIMITS)
    expected = [f'{number} True def marker(): return "found"\ngoodbye\n'.encode() for number in "123"]
    assert [run.stdout for run in runs] == expected


def test_inputs_with_files_of_their_own_are_run_alone(backend_at: Callable[[str], levels.Backend]) -> None:
    source = "import os\nprint(input(), [name for name in os.listdir() if name.endswith('.txt')])"
    cases = [
        Case(str(index), "stdin", stdin=str(index), files={"a.txt": ""} if index % 2 else {}) for index in range(4)
    ]
    runs = backend_at(levels.STRONGEST).sandbox.run(Program(source, tuple(cases)), LIMITS)
    assert [run.stdout for run in runs] == [b"0 []\n", b"1 ['a.txt']\n", b"2 []\n", b"3 ['a.txt']\n"]
