"""Rewards of one group: every completion's tests run in the sandbox, judged here, and weighed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Literal

from common.records import Score, Task, TestCase, Verdict
from reward_service.extraction import format_score, program_of
from sandbox.judge import case_of, expected_value, judge
from sandbox.types import Limits, Program, Sandbox

TestReward = Literal["pass_rate", "all_or_nothing"]
Verdicts = tuple[Verdict, ...]
# Not facts about a program: the first is our failure, the second may be the machine's load.
_NOT_CACHED = {Verdict.INFRA, Verdict.TIMEOUT}


class Scorer:
    """Scores groups; thread-safe. It does not own the sandbox: whoever made it closes it.

    ``test_reward``: the share of tests passed, or 1 only if all pass. ``cache_size``: results kept, programs.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        limits: Limits | None = None,
        test_reward: TestReward = "pass_rate",
        tests_weight: float = 2.0,
        format_weight: float = 0.5,
        cache_size: int = 4096,
    ) -> None:
        self._sandbox = sandbox
        self._limits = limits or Limits()
        self._test_reward = test_reward
        self._weights = {"tests": tests_weight, "format": format_weight}
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, Verdicts] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(sandbox.slots, thread_name_prefix="scorer")

    def score_group(self, task: Task, completions: Sequence[str]) -> list[Score]:
        """One score per completion, in order. Raises ValueError when a test of the task is malformed."""
        for test in task.tests:
            if test.kind == "call":
                expected_value(test)
        programs = [program_of(task, text) for text in completions]
        distinct = [program for program in dict.fromkeys(programs) if program is not None]
        found = dict(
            zip(distinct, self._pool.map(lambda source: self._run(source, task.tests), distinct), strict=True)
        )
        missing: Verdicts = (Verdict.ERROR,) * len(task.tests)
        return [
            self._score(missing if program is None else found[program], format_score(task, text))
            for program, text in zip(programs, completions, strict=True)
        ]

    def close(self) -> None:
        """Stop the threads. Groups being scored finish first."""
        self._pool.shutdown(wait=True)

    def _score(self, verdicts: Verdicts, form: float) -> Score:
        components = {"tests": self._tests(verdicts), "format": form}
        if Verdict.INFRA in verdicts:
            return Score(reward=0.0, components=components, verdicts=verdicts, masked=True)
        reward = sum(self._weights[name] * value for name, value in components.items())
        return Score(reward=reward, components=components, verdicts=verdicts)

    def _tests(self, verdicts: Verdicts) -> float:
        if not verdicts:
            return 0.0
        rate = sum(verdict is Verdict.PASSED for verdict in verdicts) / len(verdicts)
        return float(rate == 1.0) if self._test_reward == "all_or_nothing" else rate

    def _run(self, source: str, tests: tuple[TestCase, ...]) -> Verdicts:
        key = self._key(source, tests)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        cases = tuple(case_of(str(index), test) for index, test in enumerate(tests))
        runs = self._sandbox.run(Program(source, cases), self._limits)
        verdicts = tuple(judge(run, test) for run, test in zip(runs, tests, strict=True))
        if not _NOT_CACHED.intersection(verdicts):
            with self._lock:
                self._cache[key] = verdicts
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        return verdicts

    def _key(self, source: str, tests: tuple[TestCase, ...]) -> bytes:
        plain = [source, [test.model_dump() for test in tests], asdict(self._limits)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode("ascii")).digest()
