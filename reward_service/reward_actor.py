"""The reward worker as a Ray actor."""

from __future__ import annotations

import logging
import socket
import threading

from common.actors import WatchedActor
from common.config import Config
from common.records import TrajectoryGroup
from common.streams import ROLLOUTS, Consumer, Delivery, ScorersTerms, Streams, actor_patience, open_client
from common.telemetry import Telemetry, endpoint_host
from reward_service.configured import make_sandbox, make_scorer
from reward_service.metrics import ScoringCollector
from reward_service.reward_loop import RewardLoop
from reward_service.terms import reward_terms

_log = logging.getLogger(__name__)


class RewardWorker(WatchedActor):
    """Runs the reward loop; model-written programs run in the sandbox's processes, never in this one."""

    def __init__(self, config: Config, run_id: str, redis_url: str, name: str) -> None:
        super().__init__(config.deadlines.step_seconds)
        self._name = f"{run_id}/{name}"
        self._stopping = threading.Event()
        self._telemetry = Telemetry("reward", name, run_id, host=endpoint_host("auto", config.ray.address))
        self._deadline = config.deadlines.step_seconds
        patience = actor_patience(config.deadlines.redis_seconds, self.heart)
        streams = Streams(open_client(redis_url), run_id, config.streams, patience)
        self._consumer = Consumer(streams, ROLLOUTS, name)
        self._sandbox = make_sandbox(config.reward)
        self._scorer = make_scorer(
            config.reward, self._sandbox, functions_output=config.folder / "functions", note=self.heart.note
        )
        self._telemetry.register(ScoringCollector(self._scorer.metrics, self._telemetry.labels))
        self._loop = RewardLoop(
            name,
            self._consumer,
            self._publish,
            ScorersTerms(streams, name, reward_terms(config.reward), f"{name} on {socket.gethostname()}").agreed,
            self._scorer,
            self.heart,
            self.heart.note,
            config.streams.deliveries,
            config.reward.shuffle,
        )

    def __repr__(self) -> str:
        """Ray's dashboard and logs show it."""
        return self._name

    def run(self) -> None:
        """Work until :meth:`stop`, once; then the sandbox is gone."""
        try:
            self._loop.run(self._stopping.is_set, self._count)
        finally:
            self._scorer.close()
            self._sandbox.close()

    def stop(self) -> None:
        self._stopping.set()

    def metrics_address(self) -> str:
        return self._telemetry.address

    def _publish(self, cause: Delivery, group: TrajectoryGroup) -> None:
        self._consumer.publish_and_acknowledge(cause, group, self._deadline)

    def _count(self, group: TrajectoryGroup) -> None:
        self._telemetry.count("worker/groups")
        self._telemetry.count("worker/samples", len(group.scores))
        self._telemetry.count("worker/busy", group.seconds)
        self._telemetry.count("worker/infra_failures", sum(score.excluded for score in group.scores))
