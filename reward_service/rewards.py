"""The reward of a completion, from its verdicts. Pure, but for the reward functions that the user supplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.records import Score, Task, Verdict
from reward_service.extraction import format_score
from reward_service.user_rewards import Completion, NamedReward

TestReward = Literal["pass_rate", "all_or_nothing"]


@dataclass(frozen=True)
class RewardRule:
    """The reward of a completion: the weighted sum of its components.

    ``tests``: the share of tests passed, or 1 only if all pass. ``code_needs_format``: the test reward counts only
    beside a full format reward. ``hide_shown_test``: tests that the prompt shows do not count, unless it shows
    all of them.
    """

    tests: TestReward = "pass_rate"
    tests_weight: float = 2.0
    format_weight: float = 0.5
    code_needs_format: bool = False
    hide_shown_test: bool = False
    functions: tuple[NamedReward, ...] = ()

    def first_counted(self, task: Task) -> int:
        """Return the index of the first test that counts."""
        hidden = task.shown_tests if self.hide_shown_test else 0
        return hidden if hidden < len(task.tests) else 0

    def score(
        self,
        task: Task,
        text: str,
        program: str | None,
        verdicts: tuple[Verdict, ...],
        *,
        first_counted: int = 0,
        forgeable: bool = False,
    ) -> Score:
        """Weigh the verdicts from ``first_counted`` on, the format and the user's functions into a reward.

        Raises RewardFunctionError, a ValueError.
        """
        form = format_score(task, text, program)
        components = {"tests": self._tests(verdicts[first_counted:], form), "format": form}
        if Verdict.INFRA in verdicts:
            return Score(reward=0.0, components=components, verdicts=verdicts, excluded=True, forgeable=forgeable)
        completion = Completion(text, program, verdicts, form)
        components |= {named.name: named.value(task, completion) for named in self.functions}
        weights = {"tests": self.tests_weight, "format": self.format_weight}
        weights |= {named.name: named.weight for named in self.functions}
        reward = sum(weights[name] * value for name, value in components.items())
        return Score(reward=reward, components=components, verdicts=verdicts, forgeable=forgeable)

    def _tests(self, counted: tuple[Verdict, ...], form: float) -> float:
        if not counted or (self.code_needs_format and form < 1.0):
            return 0.0
        rate = sum(verdict is Verdict.PASSED for verdict in counted) / len(counted)
        return float(rate == 1.0) if self.tests == "all_or_nothing" else rate
