"""Score groups of completions: run their tests in the sandbox, judge them here, and weigh the verdicts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial

from common.records import Score, Task, Verdict
from reward_service.criteria import (
    GradingCriteria,
    MalformedTaskError,
    ReferenceUnavailableError,
    asks_reference,
    criteria_from_reference,
    criteria_without_reference,
)
from reward_service.extraction import program_of, reference_program
from reward_service.metrics import Exclusion, Lost, ScoringMetrics
from reward_service.reward_hacking import RewardHackingProbe
from reward_service.rewards import JudgedCompletion, RewardRule
from reward_service.single_flight import Pending, SingleFlightCache
from reward_service.user_rewards import Decoding, RewardFunctionError
from sandbox.judge.verdict import judge, program_for
from sandbox.types import CaseRun, Limits, Outcome, Program, Sandbox

# Not facts about a program: the first is our failure, the second may be the machine's load.
_NOT_FACTS = {Verdict.INFRA, Verdict.TIMEOUT}
_CRITERIA_KEPT = 2048
_NO_PROGRAM = "the completion holds no program"
#: Finds the program in a completion of a task, None where it holds none.
Extract = Callable[[Task, str], str | None]


@dataclass(frozen=True)
class TestReport:
    """The verdict on one test; ``note`` says why it did not pass, in the program's own words at times."""

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


@dataclass(frozen=True)
class Judged:
    """A completion whose tests ran, and a report for each of them: all that its reward follows from."""

    completion: JudgedCompletion
    tests: Reports


@dataclass(frozen=True)
class PreparedTask:
    """A task with what scoring its completions needs to know of it, computed once per group.

    ``reference``: the program that says what tests expect, None where the task itself says all of it.
    ``first_counted``: index of the first test that counts in the reward. ``digest``: a hash of everything that
    decides the verdicts on a program but its source.
    """

    task: Task
    reference: str | None
    first_counted: int
    digest: bytes

    def key(self, source: str) -> bytes:
        """Hash a program together with everything that decides the verdicts on it."""
        lines = source.replace("\r\n", "\n").replace("\r", "\n")  # Python reads all three line ends alike
        return hashlib.sha256(self.digest + lines.encode("utf-8", "surrogatepass")).digest()

    def same_report(self, verdict: Verdict, note: str) -> Reports:
        """Report the same of every test."""
        return (TestReport(verdict, note),) * len(self.task.tests)


class Scorer:
    """Scores groups; thread-safe. It does not own the sandbox: whoever made it closes it.

    ``allow_forgeable``: accept tasks whose tests must run in the solution's own process. ``own_process``: a
    process for each test instead of one for all of a program. ``hacking_probe``: the share of the failed programs
    that a naive grader is shown. ``deadline_s``: of one group; what has not been run by then is ``infra``.
    ``cache_size``: programs whose verdicts are remembered. ``on_scored`` is given each group's results.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        limits: Limits | None = None,
        rule: RewardRule | None = None,
        allow_forgeable: bool = False,
        own_process: bool = False,
        hacking_probe: float = 0.0,
        deadline_s: float = 600.0,
        cache_size: int = 4096,
        on_scored: Callable[[Sequence[Scored]], None] | None = None,
    ) -> None:
        self.metrics = ScoringMetrics(sandbox)
        self._sandbox = sandbox
        self._limits = limits or Limits()
        self._rule = rule or RewardRule()
        self._allow_forgeable = allow_forgeable
        self._own_process = own_process
        self._deadline_s = deadline_s
        self._on_scored = on_scored
        facts = sandbox.describe()
        self._languages = facts.get("languages", ["python"])
        self._circumstances = [asdict(self._limits), own_process, facts.get("backend"), facts.get("level")]
        self._pool = ThreadPoolExecutor(sandbox.slots, thread_name_prefix="scorer")
        waited = partial(self.metrics.time, "scoring/queue_wait")
        self._criteria: SingleFlightCache[GradingCriteria] = SingleFlightCache(
            self._pool, _CRITERIA_KEPT, lambda _: True, waited
        )
        self._reports: SingleFlightCache[Reports] = SingleFlightCache(self._pool, cache_size, _is_fact, waited)
        self._hacking_probe = RewardHackingProbe(hacking_probe, self._execute, self.metrics)

    @property
    def sees_groups(self) -> bool:
        """Whether a completion's reward depends on the others of its group, which are then rewarded together."""
        return self._rule.sees_groups

    def score_group(
        self, task: Task, completions: Sequence[str], decodings: Sequence[Decoding] | None = None
    ) -> list[Score]:
        """Return one score per completion, in order. Raises ValueError as :meth:`examine` does."""
        return [scored.score for scored in self.examine(task, completions, decodings)]

    def evaluate_group(self, task: Task, completions: Sequence[str]) -> list[Score]:
        """Return one score per completion, of verdicts and format alone: no reward function is called.

        Whether a completion passes its tests depends on no reward function, and is known where one fails.
        Raises MalformedTaskError.
        """
        started = time.monotonic()
        scored = self.reward(task, self.judge(task, completions), call_functions=False)
        self.metrics.time("scoring/group", time.monotonic() - started)
        return [one.score for one in scored]

    def examine(
        self,
        task: Task,
        completions: Sequence[str],
        decodings: Sequence[Decoding] | None = None,
        extract: Extract = program_of,
    ) -> list[Scored]:
        """Return one result per completion, in order; ``decodings`` say how each was decoded, where that is known.

        Raises MalformedTaskError or RewardFunctionError, both ValueErrors that name what is wrong, in which case
        nothing is known of any completion.
        """
        started = time.monotonic()
        scored = self.reward(task, self.judge(task, completions, decodings, extract))
        self.metrics.time("scoring/group", time.monotonic() - started)
        return scored

    def judge(
        self,
        task: Task,
        completions: Sequence[str],
        decodings: Sequence[Decoding] | None = None,
        extract: Extract = program_of,
    ) -> list[Judged]:
        """Run the task's tests on the completions. Raises MalformedTaskError."""
        deadline = time.monotonic() + self._deadline_s
        if task.language not in self._languages:
            self.metrics.lost(Lost.TASK)
            raise MalformedTaskError(
                f"task {task.id!r}, language: this sandbox runs no {task.language}; install Node.js where its "
                "programs run, or leave the task out"
            )
        prepared = self._prepare(task)
        programs = [extract(task, text) for text in completions]
        try:
            criteria = self._criteria_of(prepared, deadline)
        except MalformedTaskError:
            self.metrics.lost(Lost.TASK)
            raise
        except (ReferenceUnavailableError, TimeoutError) as error:
            criteria = GradingCriteria(())
            failed = prepared.same_report(Verdict.INFRA, str(error) or "no time to run the reference")
            reports = [failed] * len(programs)
        else:
            reports = self._judge_all(prepared, criteria, programs, deadline)
        forgeable = criteria.in_process and any(test.kind == "script" for test in task.tests)
        known: Sequence[Decoding | None] = [None] * len(programs) if decodings is None else decodings
        judged = []
        for text, program, tests, decoding in zip(completions, programs, reports, known, strict=True):
            verdicts = tuple(report.verdict for report in tests)
            failure = next((report.note for report in tests if report.verdict is Verdict.INFRA), "")
            judged.append(Judged(JudgedCompletion(text, program, verdicts, decoding, forgeable, failure), tests))
        self._probe_failures(prepared, criteria, judged)
        return judged

    def reward(self, task: Task, judged: Sequence[Judged], call_functions: bool = True) -> list[Scored]:
        """Weigh what was judged: a whole group, where its completions' rewards depend on each other.

        Without ``call_functions`` the reward functions are left out. Raises RewardFunctionError.
        """
        try:
            scores = self._rule.scores(task, [one.completion for one in judged], call_functions)
        except RewardFunctionError as error:
            self.metrics.lost(error.failure)
            raise
        scored = [
            Scored(score, one.completion.program, one.tests) for score, one in zip(scores, judged, strict=True)
        ]
        self._count(scored)
        if self._on_scored is not None:
            self._on_scored(scored)
        return scored

    def longest_seconds(self, completions: int) -> float:
        """Return how long scoring a group of so many completions may take, within all its deadlines."""
        return 2 * self._deadline_s + self._rule.longest_seconds(completions)

    def close(self) -> None:
        """Stop the threads and the reward functions. Tests that run finish first."""
        self.end_functions()
        self._pool.shutdown(wait=True)
        self._hacking_probe.close()

    def end_functions(self) -> None:
        """End the user's reward functions; groups that wait for them fail with RewardFunctionError."""
        self._rule.close()

    def _prepare(self, task: Task) -> PreparedTask:
        reference = reference_program(task) if asks_reference(task) else None
        first_counted = self._rule.first_counted(task)
        plain = [
            task.model_dump(include={"tests", "test_setup", "exports", "in_process", "language"}),
            reference,
            self._rule.tests,
            first_counted,
            *self._circumstances,
        ]
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode("ascii")).digest()
        return PreparedTask(task, reference, first_counted, digest)

    def _criteria_of(self, prepared: PreparedTask, deadline: float) -> GradingCriteria:
        """Raises MalformedTaskError, ReferenceUnavailableError, and TimeoutError at the deadline."""
        task, reference, allowed = prepared.task, prepared.reference, self._allow_forgeable
        if reference is None:
            return criteria_without_reference(task, allow_forgeable=allowed)
        pending, _ = self._criteria.get(
            prepared.key(reference),
            lambda: criteria_from_reference(task, reference, self._execute, allow_forgeable=allowed),
        )
        try:
            return pending.future.result(max(deadline - time.monotonic(), 0.0))
        finally:
            self._criteria.release(pending)

    def _judge_all(
        self,
        prepared: PreparedTask,
        criteria: GradingCriteria,
        programs: Sequence[str | None],
        deadline: float,
    ) -> list[Reports]:
        """Run all distinct programs at once and wait for them, to the deadline at most."""
        pendings = [None if source is None else self._launch(prepared, criteria, source) for source in programs]
        try:
            return [
                prepared.same_report(Verdict.ERROR, _NO_PROGRAM)
                if pending is None
                else self._await(prepared, pending, deadline)
                for pending in pendings
            ]
        finally:
            for pending in filter(None, pendings):
                self._reports.release(pending)

    def _launch(self, prepared: PreparedTask, criteria: GradingCriteria, source: str) -> Pending[Reports]:
        pending, origin = self._reports.get(prepared.key(source), lambda: self._judge(prepared, criteria, source))
        if origin != "started":
            self.metrics.count("scoring/cache_hits" if origin == "cached" else "scoring/coalesced")
        return pending

    def _await(self, prepared: PreparedTask, pending: Pending[Reports], deadline: float) -> Reports:
        try:
            return pending.future.result(max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            return prepared.same_report(Verdict.INFRA, f"not finished within {self._deadline_s:g} s")

    def _judge(self, prepared: PreparedTask, criteria: GradingCriteria, source: str) -> Reports:
        task = prepared.task

        def verdict(run: CaseRun) -> Verdict:
            return judge(run, task.tests[int(run.id)], criteria.tests[int(run.id)])

        def decides(run: CaseRun) -> bool:
            return int(run.id) >= prepared.first_counted and verdict(run) is not Verdict.PASSED

        runs = self._execute(
            program_for(source, task, in_process=criteria.in_process),
            stop_on=decides if self._rule.tests == "all_or_nothing" else None,
        )
        return tuple(TestReport(verdict(run), run.note, run.cpu_s, run.wall_s) for run in runs)

    def _execute(self, program: Program, stop_on: Callable[[CaseRun], bool] | None = None) -> list[CaseRun]:
        """Run it, and once more where the sandbox failed: what made it fail may have passed."""
        program = replace(program, own_process=self._own_process)
        self.metrics.count("scoring/executions")
        runs = self._sandbox.run(program, self._limits, stop_on=stop_on)
        if any(run.outcome is Outcome.INFRA for run in runs):
            self.metrics.count("scoring/infra_retries")
            runs = self._sandbox.run(program, self._limits, stop_on=stop_on)
        return runs

    def _count(self, scored: Sequence[Scored]) -> None:
        self.metrics.count("scoring/groups")
        self.metrics.count("scoring/completions", len(scored))
        for one in scored:
            if one.score.excluded:
                failed = Verdict.INFRA in one.score.verdicts
                self.metrics.excluded(Exclusion.SANDBOX if failed else Exclusion.UNKNOWN_REWARD)
        self.metrics.count(
            "scoring/forgeable_passes", sum(one.score.forgeable and one.score.passed for one in scored)
        )
        self.metrics.judged(verdict for one in scored for verdict in one.score.verdicts)

    def _probe_failures(self, prepared: PreparedTask, criteria: GradingCriteria, judged: Sequence[Judged]) -> None:
        for one in judged:
            program, verdicts = one.completion.program, one.completion.verdicts
            if program is None or Verdict.INFRA in verdicts or set(verdicts) == {Verdict.PASSED}:
                continue
            self._hacking_probe.offer(prepared.key(program), program, prepared.task, criteria.tests, verdicts)


def _is_fact(reports: Reports) -> bool:
    return not any(report.verdict in _NOT_FACTS for report in reports)
