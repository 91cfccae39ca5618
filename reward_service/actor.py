"""The reward worker as a Ray actor."""

from __future__ import annotations

import os
import threading

from common.config import Config, RewardConfig
from common.records import Purpose, TrajectoryGroup
from common.streams import EVALUATIONS, ROLLOUTS, TRAJECTORIES, Consumer, Delivery, Streams, connect
from common.telemetry import Telemetry
from reward_service.scoring import Scorer
from reward_service.worker import RewardLoop
from sandbox.jail import JailSandbox
from sandbox.types import Limits


class RewardWorker:
    """Runs the reward loop; model-written programs run in the sandbox's processes, never in this one."""

    def __init__(self, config: Config, run_id: str, redis_url: str, name: str) -> None:
        self._stopping = threading.Event()
        self._telemetry = Telemetry("reward", name)
        self._deadline = config.deadlines.step_seconds
        streams = Streams(connect(redis_url), run_id, config.streams)
        self._consumer = Consumer(streams, ROLLOUTS, name)
        self._loop = RewardLoop(
            name,
            self._consumer,
            self._publish,
            make_scorer(config.reward),
            config.streams.deliveries,
            config.reward.shuffle,
        )

    def run(self) -> None:
        """Work until :meth:`stop`."""
        self._loop.run(self._stopping.is_set, self._count)

    def stop(self) -> None:
        self._stopping.set()

    def metrics_address(self) -> str:
        return self._telemetry.address

    def _publish(self, cause: Delivery, group: TrajectoryGroup) -> None:
        target = TRAJECTORIES if group.prompt.purpose is Purpose.TRAIN else EVALUATIONS
        self._consumer.hand_over(cause, target, group.encode(), self._deadline)

    def _count(self, group: TrajectoryGroup) -> None:
        self._telemetry.count("worker/groups")
        self._telemetry.count("worker/samples", len(group.scores))
        self._telemetry.count("worker/busy", group.seconds)
        self._telemetry.count("worker/infra_failures", sum(score.masked for score in group.scores))


def make_scorer(config: RewardConfig) -> Scorer:
    """A scorer over a jail sandbox. Raises SandboxUnavailable where the machine's isolation is too weak."""
    sandbox = JailSandbox(config.sandbox_slots or len(os.sched_getaffinity(0)), minimum_level=config.sandbox_level)
    return Scorer(
        sandbox,
        limits=Limits(cpu_s=config.cpu_seconds, wall_s=config.wall_seconds, memory_mb=config.memory_mb),
        test_reward=config.tests,
        tests_weight=config.tests_weight,
        format_weight=config.format_weight,
    )
