"""Groups of completions scored side by side, in a sandbox of their own: for commands, which are no workers."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from common.config import RewardConfig
from reward_service.completions import Completions
from reward_service.configured import make_sandbox, make_scorer
from reward_service.results import Scored


class ScoringPool:
    """Scores groups as soon as a slot of the sandbox is free. A context manager; leaving it ends the sandbox.

    Leaving it by an exception, Ctrl-C above all, ends what is under way at once. Raises SandboxUnavailable, and
    ConfigError for a reward function.
    """

    def __init__(self, config: RewardConfig) -> None:
        self._sandbox = make_sandbox(config)
        with ExitStack() as failed:
            failed.callback(self._sandbox.close)
            # One group more than there are slots: a slot that falls idle finds the next program waiting.
            at_once = self._sandbox.slots + 1
            self._scorer = make_scorer(config, self._sandbox, groups_at_once=at_once)
            failed.pop_all()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="score")

    @property
    def executions(self) -> int:
        """Programs that were run."""
        return int(self._scorer.metrics.collect()["scoring/executions"])

    def submit(self, asked: Completions) -> Future[list[Scored]]:
        """Score completions of a task, as :meth:`reward_service.scoring.Scorer.examine` does."""
        return self._threads.submit(self._scorer.examine, asked)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._sandbox.close()  # what is under way ends now, as a failure of ours
            self._scorer.end_functions()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._scorer.close()
        self._sandbox.close()
