"""The rewards of completions, from their verdicts. Pure, but for the reward functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.records import Score, Task, Verdict
from reward_service.extraction import format_score
from reward_service.user_rewards import Completion, Decoding, Reward, UnknownRewardError

TestReward = Literal["pass_rate", "all_or_nothing"]
_SANDBOX = "the sandbox failed"


@dataclass(frozen=True)
class JudgedCompletion:
    """A completion whose tests ran, ``program`` being what was found in its text.

    ``forgeable``: they ran in the program's own process. ``failure``: why a verdict is ``infra``, where one is.
    """

    text: str
    program: str | None
    verdicts: tuple[Verdict, ...]
    decoding: Decoding | None = None
    forgeable: bool = False
    failure: str = ""

    def shown(self, form: float) -> Completion:
        """Make what reward functions see of it; ``form`` is its format reward."""
        return Completion(self.text, self.program, self.verdicts, form, self.decoding)


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
    functions: tuple[Reward, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """The factor of each component."""
        ours = {"tests": self.tests_weight, "format": self.format_weight}
        return ours | {named.name: named.weight for named in self.functions}

    @property
    def sees_groups(self) -> bool:
        """Whether a completion's reward depends on the others of its group."""
        return any(named.scope == "group" for named in self.functions)

    def first_counted(self, task: Task) -> int:
        """Return the index of the first test that counts."""
        hidden = task.shown_tests if self.hide_shown_test else 0
        return hidden if hidden < len(task.tests) else 0

    def scores(
        self, task: Task, completions: Sequence[JudgedCompletion], call_functions: bool = True
    ) -> list[Score]:
        """Weigh verdicts, format and the reward functions into a score for each completion of a group.

        One that the sandbox failed on is excluded, and not shown to the functions; one of which a function cannot
        tell is excluded too. Without ``call_functions`` the score is that of verdicts and format alone. Raises
        RewardFunctionError, a ValueError.
        """
        forms = [format_score(task, one.text, one.program) for one in completions]
        components = [
            {"tests": self._tests(task, one.verdicts, form), "format": form}
            for one, form in zip(completions, forms, strict=True)
        ]
        counted = [index for index, one in enumerate(completions) if Verdict.INFRA not in one.verdicts]
        shown = [completions[index].shown(forms[index]) for index in counted]
        unknown = {i: one.failure or _SANDBOX for i, one in enumerate(completions) if i not in set(counted)}
        for named in self.functions if call_functions else ():
            for index, value in zip(counted, named.values(task, shown), strict=True):
                if isinstance(value, UnknownRewardError):
                    unknown.setdefault(index, f"{named.name} cannot tell: {value}")
                else:
                    components[index][named.name] = value
        return [
            self._score(one, parts, unknown.get(index))
            for index, (one, parts) in enumerate(zip(completions, components, strict=True))
        ]

    def longest_seconds(self, completions: int) -> float:
        """Return how long the reward functions may take over so many completions, within all their deadlines."""
        return sum(named.longest_seconds(completions) for named in self.functions)

    def close(self) -> None:
        """End what the reward functions run; their calls fail."""
        for named in self.functions:
            named.close()

    def _score(self, completion: JudgedCompletion, components: dict[str, float], unknown: str | None) -> Score:
        weights = self.weights
        excluded = unknown is not None
        return Score(
            reward=0.0 if excluded else sum(weights[name] * value for name, value in components.items()),
            components=components,
            weights=weights,
            verdicts=completion.verdicts,
            excluded=excluded,
            reason=unknown or "",
            forgeable=completion.forgeable,
        )

    def _tests(self, task: Task, verdicts: tuple[Verdict, ...], form: float) -> float:
        counted = verdicts[self.first_counted(task) :]
        if not counted or (self.code_needs_format and form < 1.0):
            return 0.0
        rate = sum(verdict is Verdict.PASSED for verdict in counted) / len(counted)
        return float(rate == 1.0) if self.tests == "all_or_nothing" else rate
