"""The rollout worker as a Ray actor."""

from __future__ import annotations

import threading
from functools import partial

from common.config import Config
from common.likelihood.registry import make_estimator
from common.models.prompts import PromptEncoder
from common.records import Purpose, RolloutGroup, TrajectoryGroup
from common.streams import EVALUATIONS, PROMPTS, ROLLOUTS, TRAJECTORIES, Consumer, Delivery, Streams, connect
from common.telemetry import Telemetry, endpoint_host
from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.buckets import WeightsUpdate
from common.weights.fence import VersionFence
from common.weights.loader import WeightsLoader
from rollout_workers.engine import build_engine
from rollout_workers.estimates import token_estimates
from rollout_workers.generator import DenoisingGenerator
from rollout_workers.rollout_loop import RolloutLoop


class RolloutWorker:
    """Runs the rollout loop in one thread and takes new weights in another."""

    def __init__(self, config: Config, run_id: str, redis_url: str, name: str) -> None:
        denoiser, loop = build_engine(config)
        fence = VersionFence()
        self._loader = WeightsLoader(denoiser.load, fence, config.deadlines.weights_seconds)
        self._name = f"{run_id}/{name}"
        self._stopping = threading.Event()
        self._telemetry = Telemetry("rollout", name, run_id, host=endpoint_host("auto", config.ray.address))
        streams = Streams(connect(redis_url), run_id, config.streams)
        consumer = Consumer(streams, PROMPTS, name)
        deadline = config.deadlines.step_seconds
        estimate = None
        if config.learner.off_policy_cap is not None:
            learner = config.learner
            estimator = make_estimator(learner.estimator, learner.inner_iterations)
            estimate = partial(token_estimates, denoiser, estimator)
        generator = DenoisingGenerator(
            name,
            loop,
            PromptEncoder(config.model.path, config.data.chat_template),
            fence,
            deadline,
            config.rollout.update_between,
            estimate,
        )
        outbox = _Outbox(consumer, deadline)
        self._loop = RolloutLoop(name, consumer, outbox, generator, config.streams.deliveries)

    def __repr__(self) -> str:
        """Ray's dashboard and logs show it."""
        return self._name

    def run(self) -> None:
        """Work until :meth:`stop`."""
        self._loop.run(self._stopping.is_set, self._count, lambda: self._telemetry.count("worker/refused"))

    def load_weights(self, update: WeightsUpdate) -> int:
        """Replace the weights in place, between two batches or two steps (``rollout.update_between``)."""
        return self._holding(self._loader.from_store(update))

    def receive_weights(self, plan: Plan, rank: int) -> int:
        """The same, by broadcast."""
        return self._holding(self._loader.by_broadcast(plan, rank))

    def location(self) -> Location:
        return Location.here()

    def stop(self) -> None:
        self._stopping.set()

    def metrics_address(self) -> str:
        return self._telemetry.address

    def _holding(self, version: int) -> int:
        self._telemetry.set("worker/weights_version", version)
        return version

    def _count(self, group: RolloutGroup) -> None:
        self._telemetry.count("worker/groups")
        self._telemetry.count("worker/samples", len(group.rollouts))
        self._telemetry.count("worker/busy", group.seconds)
        self._telemetry.count("worker/forwards", sum(rollout.forwards for rollout in group.rollouts))
        self._telemetry.count("worker/tokens", sum(rollout.text_tokens for rollout in group.rollouts))


class _Outbox:
    def __init__(self, consumer: Consumer, deadline: float) -> None:
        self._consumer = consumer
        self._deadline = deadline

    def rolled_out(self, cause: Delivery, group: RolloutGroup) -> None:
        self._consumer.hand_over(cause, ROLLOUTS, group.encode(), self._deadline)

    def lost(self, cause: Delivery, group: TrajectoryGroup) -> None:
        target = TRAJECTORIES if group.prompt.purpose is Purpose.TRAIN else EVALUATIONS
        self._consumer.hand_over(cause, target, group.encode(), self._deadline)
