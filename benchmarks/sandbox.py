"""Programs per second: every backend beside a fresh interpreter per test, and beside forks without isolation."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rich.table import Table

from sandbox.inside.runner import PRELOAD
from sandbox.types import Case, Limits, Outcome, Program, Sandbox

SCRIPT = "print(int(input()) + int(input()))"
STDIN = "1\n2\n"
_SUM = "def add(a, b):\n    return a + b\n"
_ASSERTS = tuple(f"assert add({i}, 1) == {i + 1}" for i in range(4))
_WARM_UP = 4
_START_S = 60.0

#: What one program of each kind is. One ``ALONE`` has an isolation that is made for it, as all had before slots
#: kept theirs; that of ``inputs`` is made once for its tests.
ALONE = "script, isolated alone"
PROGRAMS = {
    "script": Program(SCRIPT, (Case("0", "stdin", stdin=STDIN),)),
    ALONE: Program(SCRIPT, (Case("0", "stdin", stdin=STDIN),)),
    "inputs": Program(SCRIPT, tuple(Case(str(i), "stdin", stdin=f"{i}\n1\n") for i in range(20))),
    "calls": Program(_SUM, tuple(Case(str(i), call=f"add({i}, 1)") for i in range(20))),
    "many calls": Program(_SUM, tuple(Case(str(i), call=f"add({i}, 1)") for i in range(100))),
    "split judge": Program(
        _SUM, tuple(Case(str(i), "script", script=text) for i, text in enumerate(_ASSERTS)), exports=("add",)
    ),
}

# A fork server without isolation: the cost of isolation comes on top of it. What its forks do is up to the kind.
_FORKS = f"""
import gc, importlib, os, sys, time
os.register_at_fork = lambda **_: None
for name in {PRELOAD.split()!r}: importlib.import_module(name)
kind, given, out = sys.argv[2], os.memfd_create("given"), os.dup(1)
os.write(given, {STDIN.encode()!r})
compiled = compile({SCRIPT!r}, "p", "exec")
def nothing():
    exec(compile("x = 1 + 2", "p", "exec"), {{}})
def one_input():
    exec(compiled, {{}})
    sys.stdout.flush()
run = {{"nothing": nothing, "input": one_input}}[kind]
sys.stdin.readline()
os.dup2(given, 0); os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
gc.collect(); gc.freeze()
until, count = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    os.lseek(0, 0, 0)
    pid = os.fork()
    if pid == 0:
        run()
        os._exit(0)
    os.waitpid(pid, 0)
    count += 1
os.write(out, str(count).encode())
"""


@dataclass(frozen=True)
class SandboxBenchSettings:
    """``slots``: programs at the same time. Each case is measured in ``rounds`` turns of ``seconds``."""

    slots: int
    seconds: float
    rounds: int


@dataclass
class BackendRates:
    """The measurements of one backend and kind of program: programs/s by round, milliseconds by program."""

    backend: str
    kind: str
    tests: int
    rates: list[float]
    latencies: list[float]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def share_of(self, floor: BackendRates) -> float:
        """Return the median of this rate over another's, round by round, as the load differs between rounds."""
        return statistics.median(own / bare for own, bare in zip(self.rates, floor.rates, strict=True))


def run(
    backends: dict[str, Callable[[], Sandbox]], settings: SandboxBenchSettings, said: Callable[[str], None]
) -> list[BackendRates]:
    """Measure the ``backends``, given by how to open each, in turns, so that load affects all alike."""
    forks = BackendRates("forks without isolation", "nothing", 1, [], [])
    inputs = BackendRates("forks without isolation", "input", 1, [], [])
    fresh = BackendRates("subprocess.run", "script", 1, [], [])
    cases = [forks, inputs, fresh]
    with _opened(backends) as sandboxes:
        rows = [
            (sandbox, program, BackendRates(name, kind, len(program.cases), [], []))
            for name, sandbox in sandboxes.items()
            for kind, program in PROGRAMS.items()
        ]
        cases += [case for _, _, case in rows]
        for number in range(settings.rounds):
            for bare in (forks, inputs):
                said(f"round {number + 1}: {bare.backend}, {bare.kind}")
                bare.rates.append(_fork_rate(settings, bare.kind))
            said(f"round {number + 1}: {fresh.backend}")
            _measure(fresh, _run_fresh, settings)
            for sandbox, program, case in rows:
                said(f"round {number + 1}: {case.backend}, {case.kind}")
                limits = _limits_alone() if case.kind == ALONE else itertools.repeat(Limits())
                _measure(case, partial(_run_next, sandbox, program, limits), settings)
    return cases


def stages(backends: int, rounds: int) -> int:
    return rounds * (3 + backends * len(PROGRAMS))


def run_once(sandbox: Sandbox, program: Program, limits: Limits) -> None:
    """Run a program once. Raises RuntimeError when it did not end well: a rate of failures means nothing."""
    for result in sandbox.run(program, limits):
        if result.outcome is not Outcome.OK:
            raise RuntimeError(f"a program of the benchmark ended in {result.outcome}: {result.note}")


def _run_next(sandbox: Sandbox, program: Program, limits: Iterator[Limits]) -> None:
    run_once(sandbox, program, next(limits))


def _limits_alone() -> Iterator[Limits]:
    """Return limits of which none is like another, for each of which a slot isolates anew.

    Threads may share it, unlike a generator.
    """
    return map(_numbered_limits, itertools.count())


def _numbered_limits(number: int) -> Limits:
    usual = Limits()
    return replace(usual, cpu_s=usual.cpu_s + number * 1e-6)


@contextmanager
def _opened(backends: dict[str, Callable[[], Sandbox]]) -> Iterator[dict[str, Sandbox]]:
    opened: dict[str, Sandbox] = {}
    try:
        for name, start in backends.items():
            opened[name] = start()
        yield opened
    finally:
        for sandbox in opened.values():
            sandbox.close()


def _measure(case: BackendRates, once: Callable[[], None], settings: SandboxBenchSettings) -> None:
    with ThreadPoolExecutor(settings.slots) as pool:
        list(pool.map(lambda _: once(), range(_WARM_UP * settings.slots)))

        def keep_running(until: float) -> list[float]:
            taken = []
            while (started := time.perf_counter()) < until:
                once()
                taken.append(time.perf_counter() - started)
            return taken

        started = time.perf_counter()
        done = list(pool.map(keep_running, [started + settings.seconds] * settings.slots))
        elapsed = time.perf_counter() - started
    latencies = [1000 * each for part in done for each in part]
    case.rates.append(len(latencies) / elapsed)
    case.latencies += latencies


def _run_fresh() -> None:
    command = [sys.executable, "-I", "-S", "-c", SCRIPT]
    subprocess.run(command, input=STDIN, capture_output=True, text=True, check=True, timeout=_START_S)


def _fork_rate(settings: SandboxBenchSettings, kind: str) -> float:
    command = [sys.executable, "-I", "-S", "-c", _FORKS, str(settings.seconds), kind]
    servers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(settings.slots)
    ]
    try:
        for server in servers:
            assert server.stdin is not None
            server.stdin.write("go\n")
            server.stdin.flush()
        counts = [server.communicate(timeout=_START_S + settings.seconds)[0] for server in servers]
    finally:
        for server in servers:
            server.kill()
            server.wait(timeout=_START_S)
    return sum(map(int, counts)) / settings.seconds


def machine() -> dict[str, Any]:
    return {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "python": sys.version.split()[0]}


def view(found: dict[str, Any], settings: SandboxBenchSettings, cases: list[BackendRates]) -> Table:
    table = Table(
        title=f"{settings.slots} slots on {found['cores']} cores, Python {found['python']}, "
        f"load {found['load']:.1f} at the start",
        caption="median of the rounds, with the slowest and the fastest, and as a share of the forks in the same "
        "round; milliseconds for one program",
    )
    forks = cases[0]
    for name in ("", "program", "programs/s", "", "of forks", "tests/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name in ("program",) else "right")
    for case in cases:
        cuts = statistics.quantiles(case.latencies, n=100) if len(case.latencies) > 1 else None
        table.add_row(
            case.backend,
            f"{case.kind}, {case.tests} tests" if case.tests > 1 else case.kind,
            f"{case.rate:,.0f}",
            f"{min(case.rates):,.0f}-{max(case.rates):,.0f}",
            f"{case.share_of(forks):.2f}",
            f"{case.rate * case.tests:,.0f}",
            f"{cuts[49]:.1f}" if cuts else "",
            f"{cuts[98]:.1f}" if cuts else "",
        )
    return table


def as_json(found: dict[str, Any], settings: SandboxBenchSettings, cases: list[BackendRates]) -> dict[str, Any]:
    rows = [
        {
            "backend": case.backend,
            "kind": case.kind,
            "tests": case.tests,
            "programs_per_second": case.rate,
            "share_of_forks": case.share_of(cases[0]),
            "rounds": case.rates,
        }
        for case in cases
    ]
    return {"machine": found, "settings": asdict(settings), "cases": rows}
