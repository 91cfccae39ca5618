"""The reward worker as a Ray actor."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from common.actors import WatchedActor
from common.config import Config, RewardConfig
from common.records import TrajectoryGroup
from common.streams import ROLLOUTS, Consumer, Delivery, Streams, actor_patience, open_client
from common.telemetry import Telemetry, endpoint_host
from reward_service.built_in import built_in_rewards
from reward_service.isolation.reward import start_reward_functions
from reward_service.metrics import ScoringCollector
from reward_service.reward_loop import RewardLoop
from reward_service.rewards import RewardRule
from reward_service.scoring import Scored, Scorer
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits, Sandbox

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


def make_scorer(
    config: RewardConfig,
    sandbox: Sandbox | None = None,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
    functions_output: Path | None = None,
    note: Callable[[str], None] = _log.warning,
) -> Scorer:
    """Make a scorer over ``sandbox``, by default a new one; ``on_scored`` is called with each group's results.

    ``functions_output``: the folder of files to which reward functions of the user's print, by default this
    process's standard error; ``note`` is told of processes of theirs that had to be replaced.
    Raises SandboxUnavailable where the machine's isolation is too weak, ConfigError for a reward function.
    """
    sandbox = sandbox or make_sandbox(config)
    limits = Limits(
        cpu_s=config.cpu_seconds,
        wall_s=config.wall_seconds,
        memory_mb=config.memory_mb,
        out_bytes=config.output_mb << 20,
    )
    rule = RewardRule(
        tests=config.tests,
        tests_weight=config.tests_weight,
        format_weight=config.format_weight,
        code_needs_format=config.code_needs_format,
        hide_shown_test=config.hide_shown_test,
        functions=start_reward_functions(
            config.functions, built_in_rewards(sandbox, limits), functions_output, note
        ),
    )
    return Scorer(
        sandbox,
        limits=limits,
        rule=rule,
        allow_forgeable=config.allow_forgeable,
        own_process=config.own_process,
        hacking_probe=config.hacking_probe,
        deadline_s=config.group_seconds,
        on_scored=on_scored,
    )


def make_sandbox(config: RewardConfig) -> Sandbox:
    """Make the sandbox that the rewards ask for. Raises SandboxUnavailable where this machine has none so good."""
    slots = config.sandbox_slots or len(os.sched_getaffinity(0))
    if config.backend == "docker":
        from sandbox.docker.backend import DockerSandbox

        return DockerSandbox(
            slots, image=config.docker_image, runtime=config.docker_runtime, memory_mb=config.memory_mb
        )
    return JailSandbox(slots, minimum_level=config.sandbox_level, packages=config.packages)
