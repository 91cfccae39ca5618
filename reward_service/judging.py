"""Judge completions: run their tests in the sandbox, within the deadline of their group, and each program once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

from common.records import Task, Verdict
from reward_service.completions import Completions
from reward_service.criteria import (
    GradingCriteria,
    MalformedTaskError,
    ReferenceUnavailableError,
    asks_reference,
    criteria_from_reference,
    criteria_without_reference,
)
from reward_service.execution import Executor
from reward_service.extraction import reference_program
from reward_service.metrics import Lost, ScoringMetrics
from reward_service.prepared import PreparedTask
from reward_service.program_budget import BudgetRule, share
from reward_service.results import Judged, Reports, TestReport
from reward_service.reward_hacking import RewardHackingProbe
from reward_service.rewards import JudgedCompletion, RewardRule
from reward_service.single_flight import Pending, SingleFlightCache
from reward_service.task_json import task_json
from reward_service.user_rewards import Decoding
from reward_service.waiting import released
from sandbox.cancellation import Cancellation
from sandbox.judge.verdict import judge, program_for
from sandbox.types import Budget, CaseRun, Limits, Sandbox

# Not facts about a program: the first is our failure, the second may be the machine's load.
_NOT_FACTS = {Verdict.INFRA, Verdict.TIMEOUT}
_CRITERIA_KEPT = 2048
_NO_PROGRAM = "the completion holds no program"


class Judge:
    """Gives verdicts; thread-safe. Its arguments are those of :class:`reward_service.scoring.Scorer`."""

    def __init__(
        self,
        sandbox: Sandbox,
        limits: Limits,
        rule: RewardRule,
        metrics: ScoringMetrics,
        *,
        allow_forgeable: bool,
        own_process: bool,
        hacking_probe: float,
        timeouts: int,
        program_s: float,
        deadline_s: float,
        groups_at_once: int,
        cache_size: int,
    ) -> None:
        self._metrics = metrics
        self._slots = sandbox.slots
        self._rule = rule
        self._allow_forgeable = allow_forgeable
        self._budgets = BudgetRule(limits, timeouts, program_s)
        self._group_s = deadline_s
        # A group may have all the others before it.
        self.deadline_s = deadline_s * groups_at_once
        facts = sandbox.describe()
        self._languages = facts.get("languages", ["python"])
        self._circumstances = [asdict(limits), own_process, facts.get("backend"), facts.get("level")]
        self._pool = ThreadPoolExecutor(sandbox.slots, thread_name_prefix="scorer")
        waited = partial(metrics.time, "scoring/queue_wait")
        self._criteria: SingleFlightCache[GradingCriteria] = SingleFlightCache(
            self._pool, _CRITERIA_KEPT, lambda _: True, waited
        )
        self._reports: SingleFlightCache[Reports] = SingleFlightCache(self._pool, cache_size, _is_fact, waited)
        self._execute = Executor(sandbox, limits, own_process, metrics).run
        self._hacking_probe = RewardHackingProbe(hacking_probe, self._execute, metrics)

    def judge(self, asked: Completions) -> list[Judged]:
        """Run the task's tests on the completions. Raises MalformedTaskError; AbandonedError once cancelled."""
        task, cancellation = asked.task, asked.cancellation
        deadline = time.monotonic() + self.deadline_s
        if task.language not in self._languages:
            self._metrics.lost(Lost.TASK)
            raise MalformedTaskError(
                f"task {task.id!r}, language: this sandbox runs no {task.language}; install Node.js where its "
                "programs run, or leave the task out"
            )
        prepared = self._prepare(task)
        programs = asked.programs()
        try:
            criteria = self._criteria_of(prepared, deadline, cancellation)
        except MalformedTaskError:
            self._metrics.lost(Lost.TASK)
            raise
        except (ReferenceUnavailableError, TimeoutError) as error:
            criteria = GradingCriteria(())
            failed = prepared.same_report(Verdict.INFRA, str(error) or "no time to run the reference")
            reports = [failed] * len(programs)
        else:
            reports = self._judge_all(prepared, criteria, programs, deadline, asked.share_s, cancellation)
        forgeable = criteria.in_process and any(test.kind == "script" for test in task.tests)
        known: Sequence[Decoding | None] = [None] * len(programs) if asked.decodings is None else asked.decodings
        judged = []
        for text, program, tests, decoding in zip(asked.texts, programs, reports, known, strict=True):
            verdicts = tuple(report.verdict for report in tests)
            failure = next((report.note for report in tests if report.verdict is Verdict.INFRA), "")
            judged.append(Judged(JudgedCompletion(text, program, verdicts, decoding, forgeable, failure), tests))
        self._probe_failures(prepared, criteria, judged)
        return judged

    def close(self) -> None:
        """Stop the threads. Tests that run finish first."""
        self._pool.shutdown(wait=True)
        self._hacking_probe.close()

    def _prepare(self, task: Task) -> PreparedTask:
        asked = asks_reference(task) or self._budgets.asks_cost(len(task.tests))
        reference = reference_program(task) if asked else None
        first_counted = self._rule.first_counted(task)
        rest = json.dumps([reference, self._rule.tests, first_counted, *self._circumstances])
        described = task_json(task, ("test_setup", "exports", "in_process", "language"))
        digest = hashlib.sha256(f"{rest}\n{described}".encode("ascii")).digest()
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
        with released(self._criteria, [pending], cancellation):
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
            left = self._group_s - (self.deadline_s - (deadline - time.monotonic()))
            share_s = share(max(left, 0.0), len(set(programs)), self._slots)
        budget = self._budgets.of_program(criteria.cost, _expected_bytes(prepared.task), share_s)
        launch = partial(self._launch, prepared, criteria, budget)
        pendings = [None if source is None else launch(source) for source in programs]
        with released(self._reports, filter(None, pendings), cancellation):
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
            self._metrics.count("scoring/cache_hits" if origin == "cached" else "scoring/coalesced")
        return pending

    def _await(
        self, prepared: PreparedTask, pending: Pending[Reports], deadline: float, share_s: float
    ) -> Reports:
        try:
            return pending.future.result(max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            if pending.began is not None and time.monotonic() - pending.began >= share_s:
                return prepared.same_report(Verdict.TIMEOUT, f"more than its share of {share_s:g} s")
            return prepared.same_report(Verdict.INFRA, f"not finished within {self.deadline_s:g} s")

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
