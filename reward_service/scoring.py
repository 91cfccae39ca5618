"""Score groups of completions: run their tests in the sandbox, judge them here, and weigh the verdicts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

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
from reward_service.program_budget import BudgetRule, share
from reward_service.reward_hacking import RewardHackingProbe
from reward_service.rewards import JudgedCompletion, RewardRule
from reward_service.single_flight import Pending, SingleFlightCache
from reward_service.user_rewards import Decoding, RewardFunctionError
from sandbox.cancellation import Cancellation
from sandbox.judge.verdict import judge, program_for
from sandbox.types import Budget, CaseRun, Limits, Outcome, Program, Sandbox

# Not facts about a program: the first is our failure, the second may be the machine's load.
_NOT_FACTS = {Verdict.INFRA, Verdict.TIMEOUT}
_CRITERIA_KEPT = 2048
_NO_PROGRAM = "the completion holds no program"
_TIMEOUTS = 3
_PROGRAM_S = 30.0
#: Finds the program in a completion of a task, None where it holds none.
Extract = Callable[[Task, str], str | None]
T = TypeVar("T")


class AbandonedError(RuntimeError):
    """Nobody waits for these scores any more."""


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
    that a naive grader is shown. ``timeouts``, ``program_s``: tests of a program that may run out of time, and CPU
    seconds that it has beside ten times its task's reference. ``deadline_s``: of one group, which its programs
    share; what has not been run by then is ``infra``, but for a program that used up its share.
    ``groups_at_once``: that share the slots. ``cache_size``: programs whose verdicts are remembered. ``on_scored``
    is given each group's results.
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
        timeouts: int = _TIMEOUTS,
        program_s: float = _PROGRAM_S,
        deadline_s: float = 600.0,
        groups_at_once: int = 1,
        cache_size: int = 4096,
        on_scored: Callable[[Sequence[Scored]], None] | None = None,
    ) -> None:
        self.metrics = ScoringMetrics(sandbox)
        self._sandbox = sandbox
        self._limits = limits or Limits()
        self._rule = rule or RewardRule()
        self._allow_forgeable = allow_forgeable
        self._own_process = own_process
        self._budgets = BudgetRule(self._limits, timeouts, program_s)
        self._group_s = deadline_s
        # A group may have all the others before it.
        self._deadline_s = deadline_s * groups_at_once
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
    def slots(self) -> int:
        """The number of programs that run at the same time."""
        return self._sandbox.slots

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
        *,
        share_s: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[Scored]:
        """Return one result per completion, in order; ``decodings`` say how each was decoded, where that is known.

        ``share_s``: wall-clock seconds of a slot that are there for each [default: of the group's deadline].
        Raises MalformedTaskError or RewardFunctionError, both ValueErrors that name what is wrong, in which case
        nothing is known of any completion, and AbandonedError where it was cancelled.
        """
        started = time.monotonic()
        judged = self.judge(task, completions, decodings, extract, share_s=share_s, cancellation=cancellation)
        scored = self.reward(task, judged)
        self.metrics.time("scoring/group", time.monotonic() - started)
        return scored

    def judge(
        self,
        task: Task,
        completions: Sequence[str],
        decodings: Sequence[Decoding] | None = None,
        extract: Extract = program_of,
        *,
        share_s: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[Judged]:
        """Run the task's tests on the completions. Raises MalformedTaskError; AbandonedError once cancelled."""
        cancellation = cancellation or Cancellation()
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
            criteria = self._criteria_of(prepared, deadline, cancellation)
        except MalformedTaskError:
            self.metrics.lost(Lost.TASK)
            raise
        except (ReferenceUnavailableError, TimeoutError) as error:
            criteria = GradingCriteria(())
            failed = prepared.same_report(Verdict.INFRA, str(error) or "no time to run the reference")
            reports = [failed] * len(programs)
        else:
            reports = self._judge_all(prepared, criteria, programs, deadline, share_s, cancellation)
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
        asked = asks_reference(task) or self._budgets.asks_cost(len(task.tests))
        reference = reference_program(task) if asked else None
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

    def _criteria_of(self, prepared: PreparedTask, deadline: float, cancellation: Cancellation) -> GradingCriteria:
        """Raises MalformedTaskError, ReferenceUnavailableError, AbandonedError; TimeoutError at the deadline."""
        task, reference, allowed = prepared.task, prepared.reference, self._allow_forgeable
        if reference is None:
            return criteria_without_reference(task, allow_forgeable=allowed)
        budget = self._budgets.of_reference(self._group_s)

        def compute(unwanted: Cancellation) -> GradingCriteria:
            run = partial(self._execute, budget=budget, cancellation=unwanted)
            return criteria_from_reference(task, reference, run, allow_forgeable=allowed)

        pending, _ = self._criteria.get(prepared.key(reference), compute)
        with _released(self._criteria, [pending], cancellation):
            return pending.future.result(max(deadline - time.monotonic(), 0.0))

    def _judge_all(
        self,
        prepared: PreparedTask,
        criteria: GradingCriteria,
        programs: Sequence[str | None],
        deadline: float,
        share_s: float | None,
        cancellation: Cancellation,
    ) -> list[Reports]:
        """Run all distinct programs at once and wait for them, to the deadline at most. Raises AbandonedError."""
        if share_s is None:
            left = self._group_s - (self._deadline_s - (deadline - time.monotonic()))
            share_s = share(max(left, 0.0), len(set(programs)), self._sandbox.slots)
        budget = self._budgets.of_program(criteria.cost, _expected_bytes(prepared.task), share_s)
        launch = partial(self._launch, prepared, criteria, budget)
        pendings = [None if source is None else launch(source) for source in programs]
        with _released(self._reports, filter(None, pendings), cancellation):
            return [
                prepared.same_report(Verdict.ERROR, _NO_PROGRAM)
                if pending is None
                else self._await(prepared, pending, deadline, budget.wall_s)
                for pending in pendings
            ]

    def _launch(
        self, prepared: PreparedTask, criteria: GradingCriteria, budget: Budget, source: str
    ) -> Pending[Reports]:
        compute = partial(self._judge, prepared, criteria, budget, source)
        pending, origin = self._reports.get(prepared.key(source), compute, budget.wall_s)
        if origin != "started":
            self.metrics.count("scoring/cache_hits" if origin == "cached" else "scoring/coalesced")
        return pending

    def _await(
        self, prepared: PreparedTask, pending: Pending[Reports], deadline: float, share_s: float
    ) -> Reports:
        try:
            return pending.future.result(max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            if pending.began is not None and time.monotonic() - pending.began >= share_s:
                return prepared.same_report(Verdict.TIMEOUT, f"more than its share of {share_s:g} s")
            return prepared.same_report(Verdict.INFRA, f"not finished within {self._deadline_s:g} s")

    def _judge(
        self,
        prepared: PreparedTask,
        criteria: GradingCriteria,
        budget: Budget,
        source: str,
        cancellation: Cancellation,
    ) -> Reports:
        task = prepared.task

        def verdict(run: CaseRun) -> Verdict:
            return judge(run, task.tests[int(run.id)], criteria.tests[int(run.id)])

        def decides(run: CaseRun) -> bool:
            return int(run.id) >= prepared.first_counted and verdict(run) is not Verdict.PASSED

        runs = self._execute(
            program_for(source, task, criteria.tests, in_process=criteria.in_process),
            stop_on=decides if self._rule.tests == "all_or_nothing" else None,
            budget=budget,
            cancellation=cancellation,
        )
        return tuple(TestReport(verdict(run), run.note, run.cpu_s, run.wall_s) for run in runs)

    def _execute(
        self,
        program: Program,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        """Run it, and once more where the sandbox failed: what made it fail may have passed."""
        program = replace(program, own_process=self._own_process)
        wanted = cancellation or Cancellation()
        run = partial(
            self._sandbox.run, program, self._limits, stop_on=stop_on, budget=budget, cancellation=wanted
        )
        self.metrics.count("scoring/executions")
        runs = run()
        if any(run.outcome is Outcome.INFRA for run in runs) and not wanted.cancelled:
            self.metrics.count("scoring/infra_retries")
            runs = run()
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


def _expected_bytes(task: Task) -> int:
    return sum(len(test.expected or "") for test in task.tests)


@contextmanager
def _released(
    cache: SingleFlightCache[T], pendings: Iterable[Pending[T]], cancellation: Cancellation
) -> Iterator[None]:
    """Wait inside, and release what is waited for at the end, or when it is cancelled: then AbandonedError."""
    with ExitStack() as waits:
        for pending in pendings:
            waits.callback(cache.release, pending)
        try:
            with cancellation.ending_by(waits.close):
                yield
        except CancelledError as error:
            raise AbandonedError("nobody waits for it any more") from error
        if cancellation.cancelled:
            raise AbandonedError("nobody waits for it any more")
