"""Bugs in extraction, rewards, the cache of verdicts, the stream worker and the HTTP service."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_JUDGING = "reward_service/judging.py"
_TEST_SCORING = ("tests/reward_service/test_scoring.py",)

BUGS = (
    Mutation(
        "open-fence-lost",
        "A fenced block that the completion does not close is a program.",
        "reward_service/extraction.py",
        old=r"\r?\n(.*?)(?:```|\Z)",
        new=r"\r?\n(.*?)```",
        tests=("tests/reward_service/test_extraction.py",),
    ),
    Mutation(
        "closing-newline-demanded",
        "A closing fence at the very end of a text, which is cut at its end token, closes the block.",
        "reward_service/extraction.py",
        old=r'```\n?", re.DOTALL)',
        new=r'```\n", re.DOTALL)',
        tests=("tests/reward_service/test_released_rewards.py",),
    ),
    Mutation(
        "partly-failed-sandbox-paid",
        "A completion with any test that the sandbox failed on is excluded, not paid.",
        "reward_service/rewards.py",
        old="if Verdict.INFRA not in one.verdicts]",
        new="if not all(verdict is Verdict.INFRA for verdict in one.verdicts)]",
        tests=("tests/reward_service/test_rewards.py", *_TEST_SCORING),
    ),
    Mutation(
        "shown-test-decides",
        "A shown test that does not count does not stop the others.",
        _JUDGING,
        old="return int(run.id) >= prepared.first_counted and verdict(run) is not Verdict.PASSED",
        new="return verdict(run) is not Verdict.PASSED",
        tests=_TEST_SCORING,
    ),
    Mutation(
        "timeouts-remembered",
        "A time-out may be the machine's load: it is not remembered.",
        _JUDGING,
        old="_NOT_FACTS = {Verdict.INFRA, Verdict.TIMEOUT}",
        new="_NOT_FACTS = {Verdict.INFRA}",
        tests=_TEST_SCORING,
    ),
    Mutation(
        "setup-not-in-digest",
        "Verdicts are remembered for one task's tests, their set-up included.",
        _JUDGING,
        old='task_json(task, ("test_setup", "exports", "in_process", "language"))',
        new='task_json(task, ("exports", "in_process", "language"))',
        tests=_TEST_SCORING,
    ),
    Mutation(
        "published-unheld",
        "Nobody else claims a group while its result waits to be published.",
        "reward_service/reward_loop.py",
        old="                    self._publish(delivery, result)",
        new="                self._publish(delivery, result)",
        tests=("tests/reward_service/test_reward_worker.py",),
    ),
    Mutation(
        "any-bearer-token",
        "Work needs the service's own token.",
        "reward_service/http/guard.py",
        old='return right and scheme.lower() == "bearer"',
        new='return right or scheme.lower() == "bearer"',
        tests=("tests/reward_service/test_service.py",),
    ),
    Mutation(
        "giant-request-first",
        "Requests that wait take turns, one program each.",
        "reward_service/http/queue.py",
        old="self._owners[owner] = items",
        new="self._owners[owner] = items\n            self._owners.move_to_end(owner, last=False)",
        tests=("tests/reward_service/test_service_queue.py",),
    ),
)
