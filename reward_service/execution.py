"""Runs programs in the sandbox, and again where it was the sandbox that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from reward_service.metrics import ScoringMetrics
from sandbox.cancellation import Cancellation
from sandbox.types import Budget, CaseRun, Limits, Outcome, Program, Sandbox


class Executor:
    """``own_process``: a process for each test of a program. Thread-safe; it does not own the sandbox."""

    def __init__(self, sandbox: Sandbox, limits: Limits, own_process: bool, metrics: ScoringMetrics) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._own_process = own_process
        self._metrics = metrics

    def run(
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
        self._metrics.count("scoring/executions")
        runs = run()
        if any(run.outcome is Outcome.INFRA for run in runs) and not wanted.cancelled:
            self._metrics.count("scoring/infra_retries")
            runs = run()
        return runs
