"""Score groups of completions: have them judged, and weigh the verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from common.records import Score, Task, Verdict
from reward_service.completions import Completions
from reward_service.judging import Judge
from reward_service.metrics import Exclusion, ScoringMetrics
from reward_service.results import Judged, Scored
from reward_service.rewards import RewardRule
from reward_service.user_rewards import Decoding, RewardFunctionError
from sandbox.types import Limits, Sandbox

_TIMEOUTS = 3
_PROGRAM_S = 30.0


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
        self.slots = sandbox.slots
        self._rule = rule or RewardRule()
        self._on_scored = on_scored
        self._judge = Judge(
            sandbox,
            limits or Limits(),
            self._rule,
            self.metrics,
            allow_forgeable=allow_forgeable,
            own_process=own_process,
            hacking_probe=hacking_probe,
            timeouts=timeouts,
            program_s=program_s,
            deadline_s=deadline_s,
            groups_at_once=groups_at_once,
            cache_size=cache_size,
        )
        #: As :meth:`Judge.judge`.
        self.judge = self._judge.judge

    @property
    def sees_groups(self) -> bool:
        """Whether a completion's reward depends on the others of its group, which are then rewarded together."""
        return self._rule.sees_groups

    def score_group(
        self, task: Task, completions: Sequence[str], decodings: Sequence[Decoding] | None = None
    ) -> list[Score]:
        """Return one score per completion, in order. Raises ValueError as :meth:`examine` does."""
        return [scored.score for scored in self.examine(Completions(task, completions, decodings))]

    def evaluate_group(self, task: Task, completions: Sequence[str]) -> list[Score]:
        """Return one score per completion, of verdicts and format alone: no reward function is called.

        Whether a completion passes its tests depends on no reward function, and is known where one fails.
        Raises MalformedTaskError.
        """
        started = time.monotonic()
        scored = self.reward(task, self.judge(Completions(task, completions)), call_functions=False)
        self.metrics.time("scoring/group", time.monotonic() - started)
        return [one.score for one in scored]

    def examine(self, asked: Completions) -> list[Scored]:
        """Return one result per completion, in order.

        Raises MalformedTaskError or RewardFunctionError, both ValueErrors that name what is wrong, in which case
        nothing is known of any completion, and AbandonedError where it was cancelled.
        """
        started = time.monotonic()
        scored = self.reward(asked.task, self.judge(asked))
        self.metrics.time("scoring/group", time.monotonic() - started)
        return scored

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
        return 2 * self._judge.deadline_s + self._rule.longest_seconds(completions)

    def close(self) -> None:
        """Stop the threads and the reward functions. Tests that run finish first."""
        self.end_functions()
        self._judge.close()

    def end_functions(self) -> None:
        """End the user's reward functions; groups that wait for them fail with RewardFunctionError."""
        self._rule.close()

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
