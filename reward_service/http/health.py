"""Readiness: whether the sandbox works, by the latest program that went through it, or a probe where none did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from common.records import Verdict
from reward_service.results import Scored
from sandbox.types import Case, CaseRun, Limits, Outcome, Program, Sandbox

_PROBE = Program("print(6 * 7)", (Case("probe", "stdin"),))
_PROBE_LIMITS = Limits(cpu_s=5.0, wall_s=20.0)
_PROBE_EVERY_S = 10.0
#: Longer than a probe and the start of two slots may take.
_STALE_S = 120.0


class Readiness:
    """The latest sign of life or of trouble. Thread-safe: each is one assignment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._problem: str | None = "the sandbox has not been tried yet"
        self._seen = clock()

    def works(self) -> None:
        """Note that a program came back from the sandbox."""
        self._problem, self._seen = None, self._clock()

    def fails(self, problem: str) -> None:
        """Note that the sandbox failed."""
        self._problem, self._seen = problem, self._clock()

    @property
    def age(self) -> float:
        """Seconds since the latest sign."""
        return self._clock() - self._seen

    def problem(self) -> str | None:
        """Say why the sandbox cannot be used now; None when it can."""
        if self._problem is None and self.age > _STALE_S:
            return f"no program came back from the sandbox for {self.age:.0f} s"
        return self._problem

    def observe(self, scored: Sequence[Scored]) -> None:
        """Take the results of a group as a sign, where a program ran."""
        tests = [test for one in scored if one.program is not None for test in one.tests]
        failed = next((test for test in tests if test.verdict is Verdict.INFRA), None)
        if failed is not None:
            self.fails(f"the sandbox failed: {failed.note}")
        elif tests:
            self.works()

    def observe_run(self, run: CaseRun) -> None:
        """Take one run of any program as a sign."""
        if run.outcome is Outcome.INFRA:
            self.fails(f"the sandbox failed: {run.note}")
        else:
            self.works()


class Prober:
    """Runs a small program where nothing else has gone through the sandbox lately."""

    def __init__(self, sandbox: Sandbox, readiness: Readiness, every_s: float = _PROBE_EVERY_S) -> None:
        self._sandbox = sandbox
        self._readiness = readiness
        self._every_s = every_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sandbox-probe")

    async def run(self) -> None:
        """Probe whenever it is time, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._readiness.problem() is not None or self._readiness.age >= self._every_s:
                await loop.run_in_executor(self._pool, self.probe)
            await asyncio.sleep(self._every_s / 4)

    def probe(self) -> None:
        """Run the program and note how it went; blocks."""
        (run,) = self._sandbox.run(_PROBE, _PROBE_LIMITS)
        if run.outcome is Outcome.OK and run.stdout != b"42\n":
            self._readiness.fails(f"the sandbox printed {run.stdout[:100]!r} for 6 * 7")
        else:
            self._readiness.observe_run(run)

    def close(self) -> None:
        """Wait for the probe under way; the caller has closed the sandbox, which ends it."""
        self._pool.shutdown(wait=True, cancel_futures=True)
