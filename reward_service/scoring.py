"""Rewards of a group: every completion's tests run in the sandbox, judged here, and weighed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial

from common.records import Score, Task, Verdict
from reward_service.extraction import program_of, reference_program
from reward_service.metrics import Tally
from reward_service.reward_hacking import CheatMeter
from reward_service.rewards import RewardRule
from reward_service.single_flight import Flight, SharedWork
from reward_service.standards import (
    Basis,
    ReferenceUnavailableError,
    asks_reference,
    basis_from_reference,
    basis_without_reference,
)
from sandbox.judge.verdict import judge, program_for
from sandbox.types import CaseRun, Limits, Outcome, Program, Sandbox

# Not facts about a program: the first is our failure, the second may be the machine's load.
_NOT_FACTS = {Verdict.INFRA, Verdict.TIMEOUT}
_BASES_KEPT = 2048
_NO_PROGRAM = "the completion holds no program"


@dataclass(frozen=True)
class TestReport:
    """What became of one test; ``note`` says why it did not pass, in the program's own words at times."""

    __test__ = False  # not a pytest class

    verdict: Verdict
    note: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0


Reports = tuple[TestReport, ...]


@dataclass(frozen=True)
class Scored:
    """A completion's score, the program that was found in it, and a report for each test of the task."""

    score: Score
    program: str | None
    tests: Reports


class Scorer:
    """Scores groups; thread-safe. It does not own the sandbox: whoever made it closes it.

    ``allow_forgeable``: accept tasks whose tests must run in the solution's own process. ``own_process``: a
    process for each test instead of one for all of a program. ``cheat_share``: of the programs that fail, those
    shown to a naive grader. ``deadline_s``: of one group; what has not been run by then is ``infra``.
    ``cache_size``: programs whose verdicts are remembered.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        limits: Limits | None = None,
        rule: RewardRule | None = None,
        allow_forgeable: bool = False,
        own_process: bool = False,
        cheat_share: float = 0.0,
        deadline_s: float = 600.0,
        cache_size: int = 4096,
    ) -> None:
        self.tally = Tally(sandbox)
        self._sandbox = sandbox
        self._limits = limits or Limits()
        self._rule = rule or RewardRule()
        self._allow_forgeable = allow_forgeable
        self._own_process = own_process
        self._deadline_s = deadline_s
        facts = sandbox.describe()
        self._circumstances = [asdict(self._limits), own_process, facts.get("backend"), facts.get("level")]
        self._pool = ThreadPoolExecutor(sandbox.slots, thread_name_prefix="scorer")
        waited = partial(self.tally.time, "scoring/queue_wait")
        self._bases: SharedWork[Basis] = SharedWork(self._pool, _BASES_KEPT, lambda _: True, waited)
        self._reports: SharedWork[Reports] = SharedWork(self._pool, cache_size, _is_fact, waited)
        self._meter = CheatMeter(cheat_share, self._execute, self.tally)

    def score_group(self, task: Task, completions: Sequence[str]) -> list[Score]:
        """One score per completion, in order. Raises ValueError as :meth:`examine` does."""
        return [scored.score for scored in self.examine(task, completions)]

    def examine(self, task: Task, completions: Sequence[str]) -> list[Scored]:
        """One result per completion, in order.

        Raises MalformedTaskError or RewardFunctionError, both ValueErrors that name what is wrong, in which case
        nothing is known of any completion.
        """
        started = time.monotonic()
        deadline = started + self._deadline_s
        programs = [program_of(task, text) for text in completions]
        digest = self._digest(task)
        try:
            basis = self._basis(task, digest, deadline)
        except (ReferenceUnavailableError, TimeoutError) as error:
            basis = Basis(())
            reports = _alike(task, Verdict.INFRA, str(error) or "no time to run the reference")
            found = [reports] * len(programs)
        else:
            found = self._run_all(task, digest, basis, programs, deadline)
        scored = [
            self._scored(task, basis, text, program, reports)
            for text, program, reports in zip(completions, programs, found, strict=True)
        ]
        self._count(scored, time.monotonic() - started)
        for one in scored:
            if one.program is not None and not one.score.passed and not one.score.masked:
                key = _program_key(digest, one.program)
                self._meter.show(key, one.program, task, basis.standards, one.score.verdicts)
        return scored

    def close(self) -> None:
        """Stop the threads. Groups being scored finish first."""
        self._pool.shutdown(wait=True)
        self._meter.close()

    def _basis(self, task: Task, digest: bytes, deadline: float) -> Basis:
        reference = reference_program(task)
        if reference is None or not asks_reference(task):
            return basis_without_reference(task, allow_forgeable=self._allow_forgeable)
        flight, _ = self._bases.ask(
            _program_key(digest, reference),
            lambda: basis_from_reference(task, self._execute, allow_forgeable=self._allow_forgeable),
        )
        try:
            return flight.future.result(max(deadline - time.monotonic(), 0.0))
        finally:
            self._bases.leave(flight)

    def _run_all(
        self, task: Task, digest: bytes, basis: Basis, programs: Sequence[str | None], deadline: float
    ) -> list[Reports]:
        flights = [None if program is None else self._launch(task, digest, basis, program) for program in programs]
        try:
            return [
                _alike(task, Verdict.ERROR, _NO_PROGRAM) if flight is None else self._await(task, flight, deadline)
                for flight in flights
            ]
        finally:
            for flight in filter(None, flights):
                self._reports.leave(flight)

    def _launch(self, task: Task, digest: bytes, basis: Basis, source: str) -> Flight[Reports]:
        flight, origin = self._reports.ask(_program_key(digest, source), lambda: self._judge(task, basis, source))
        if origin != "started":
            self.tally.count("scoring/cache_hits" if origin == "cached" else "scoring/coalesced")
        return flight

    def _await(self, task: Task, flight: Flight[Reports], deadline: float) -> Reports:
        try:
            return flight.future.result(max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            return _alike(task, Verdict.INFRA, f"not finished within {self._deadline_s:g} s")

    def _judge(self, task: Task, basis: Basis, source: str) -> Reports:
        counted = self._rule.first_counted(task)

        def verdict(run: CaseRun) -> Verdict:
            return judge(run, task.tests[int(run.id)], basis.standards[int(run.id)])

        def decides(run: CaseRun) -> bool:
            return int(run.id) >= counted and verdict(run) is not Verdict.PASSED

        runs = self._execute(
            program_for(source, task, in_process=basis.in_process),
            stop_on=decides if self._rule.tests == "all_or_nothing" else None,
        )
        return tuple(TestReport(verdict(run), run.note, run.cpu_s, run.wall_s) for run in runs)

    def _execute(self, program: Program, stop_on: Callable[[CaseRun], bool] | None = None) -> list[CaseRun]:
        """Run it, and once more where the sandbox failed: what made it fail may have passed."""
        program = replace(program, own_process=self._own_process)
        self.tally.count("scoring/executions")
        runs = self._sandbox.run(program, self._limits, stop_on=stop_on)
        if any(run.outcome is Outcome.INFRA for run in runs):
            self.tally.count("scoring/infra_retries")
            runs = self._sandbox.run(program, self._limits, stop_on=stop_on)
        return runs

    def _scored(self, task: Task, basis: Basis, text: str, program: str | None, reports: Reports) -> Scored:
        verdicts = tuple(report.verdict for report in reports)
        forgeable = basis.in_process and any(test.kind == "script" for test in task.tests)
        return Scored(self._rule.score(task, text, program, verdicts, forgeable=forgeable), program, reports)

    def _count(self, scored: Sequence[Scored], seconds: float) -> None:
        self.tally.time("scoring/group", seconds)
        self.tally.count("scoring/groups")
        self.tally.count("scoring/completions", len(scored))
        self.tally.count("scoring/masked", sum(one.score.masked for one in scored))
        self.tally.count(
            "scoring/forgeable_passes", sum(one.score.forgeable and one.score.passed for one in scored)
        )
        self.tally.judged(verdict for one in scored for verdict in one.score.verdicts)

    def _digest(self, task: Task) -> bytes:
        """Of all that decides the verdicts of a program but its source."""
        plain = [
            task.model_dump(include={"tests", "test_setup", "exports", "in_process"}),
            reference_program(task) if asks_reference(task) else None,
            self._rule.tests,
            self._rule.first_counted(task),
            *self._circumstances,
        ]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode("ascii")).digest()


def _program_key(digest: bytes, source: str) -> bytes:
    """Python reads the three kinds of line end alike."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(digest + lines.encode("utf-8", "surrogatepass")).digest()


def _is_fact(reports: Reports) -> bool:
    return not any(report.verdict in _NOT_FACTS for report in reports)


def _alike(task: Task, verdict: Verdict, note: str) -> Reports:
    return (TestReport(verdict, note),) * len(task.tests)
