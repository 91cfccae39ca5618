"""The stream worker inside the reward service: the same loop as the actor's, on a thread, until told to stop."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from common.config import RewardConfig, StreamsConfig
from common.heartbeat import Heartbeat
from common.records import TrajectoryGroup
from common.streams import ROLLOUTS, Consumer, Delivery, Patience, ScorersTerms, Streams, connect
from reward_service.reward_loop import RewardLoop
from reward_service.scoring import Scorer
from reward_service.terms import reward_terms

log = logging.getLogger(__name__)


class AbandonedError(RuntimeError):
    """The group was not finished in time; it stays unacknowledged, for another worker to claim."""


class StreamWorker:
    """Scores the groups of one run's rollout stream.

    ``publish_s``: how long a full trajectory stream may hold it up. It waits for a Redis that is away later on for
    as long as it takes. Raises StreamError where none answers now, DisagreementError where the run wants other
    rewards.
    """

    def __init__(
        self, url: str, run_id: str, name: str, streams: StreamsConfig, reward: RewardConfig, publish_s: float
    ) -> None:
        self._patience = Patience(math.inf, log.warning, self._end_wait_if_stopping)
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        connected = Streams(connect(url), run_id, streams, self._patience)
        connected.create()
        self._consumer = Consumer(connected, ROLLOUTS, name)
        self._terms = ScorersTerms(connected, name, reward_terms(reward), f"the reward service {name}")
        self._terms.agreed()  # where the run has begun, what differs is known before anything else starts
        self._name = name
        self._deliveries = streams.deliveries
        self._shuffle = reward.shuffle
        self._publish_s = publish_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="stream-worker")

    def start(self, scorer: Scorer, on_group: Callable[[TrajectoryGroup], None]) -> Future[None]:
        """Work until :meth:`stop`; the future then has nothing, or the error that ended the worker before."""
        loop = RewardLoop(
            self._name,
            self._consumer,
            self._publish,
            self._terms.agreed,
            scorer,
            Heartbeat(self._publish_s),
            log.warning,
            self._deliveries,
            self._shuffle,
        )
        return self._pool.submit(loop.run, self._stopping.is_set, on_group)

    def problem(self) -> str | None:
        """Say why it takes no groups now; None when it does."""
        return self._patience.problem

    def stop(self) -> None:
        """Finish and acknowledge the group at hand, and take no other."""
        self._stopping.set()

    def abandon(self) -> None:
        """Leave the group at hand to others: from now on its scores may be those of a sandbox that is closing."""
        self._stopping.set()
        self._abandoned.set()

    def close(self) -> None:
        """Wait for the thread; the caller has closed the sandbox, or the worker had stopped before."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _end_wait_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise AbandonedError("Redis was away when the service had to end")

    def _publish(self, cause: Delivery, group: TrajectoryGroup) -> None:
        if self._abandoned.is_set():
            raise AbandonedError(f"group {group.prompt.index} was not scored before the service had to end")
        self._consumer.publish_and_acknowledge(cause, group, self._publish_s)
