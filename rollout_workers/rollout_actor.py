"""The rollout worker as a Ray actor."""

from __future__ import annotations

import threading
import time

from common.actors import WatchedActor
from common.config import Config, LearnerConfig
from common.likelihood.registry import make_estimator
from common.models.prompts import PromptEncoder
from common.records import RolloutGroup
from common.streams import PROMPTS, Consumer, Streams, actor_patience, open_client
from common.telemetry import Telemetry, endpoint_host
from common.turns import Turn
from common.weights.fence import VersionFence
from common.weights.loader import WeightsLoader
from common.weights.location import Location
from common.weights.messages import Plan, Verification, WeightsUpdate
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.registry import build_backend
from rollout_workers.compilation import expected_completions
from rollout_workers.rollout_engine import Estimate, RolloutEngine
from rollout_workers.rollout_loop import RolloutLoop
from rollout_workers.weights_delay import WeightsDelay


class RolloutWorker(WatchedActor):
    """Runs the rollout loop in one thread and takes new weights in another."""

    def __init__(self, config: Config, run_id: str, redis_url: str, name: str) -> None:
        super().__init__(config.deadlines.progress_seconds)
        self._backend = build_backend(config)
        self._rollout, self._completions = config.rollout, expected_completions(config)
        self._starting = config.deadlines.start_seconds
        self._fence = fence = VersionFence()
        loading, batch = config.deadlines.weights_seconds, config.deadlines.step_seconds
        self._loader = WeightsLoader(self._backend, fence, loading, batch, self.heart)
        self._patience = batch
        self._turn_began = 0.0
        if config.takes_turns:
            self._backend.release()
        self._name = f"{run_id}/{name}"
        self._stopping = threading.Event()
        self._telemetry = Telemetry("rollout", name, run_id, host=endpoint_host("auto", config.ray.address))
        self._delay = WeightsDelay(self._report_delay)
        patience = actor_patience(config.deadlines.redis_seconds, self.heart)
        streams = Streams(open_client(redis_url), run_id, config.streams, patience)
        consumer = Consumer(streams, PROMPTS, name)
        deadline = batch
        groups = RolloutEngine(
            name,
            self._backend.engine,
            PromptEncoder(config.model.path, config.data),
            fence,
            deadline,
            config.takes_weights_between,
            _estimate(self._backend, config.learner),
            self.heart,
            self._delay.stepped,
        )
        self._loop = RolloutLoop(
            name, consumer, groups, config.streams.deliveries, deadline, self._count, self._count_lost, self.heart
        )

    def __repr__(self) -> str:
        """Name the actor in Ray's dashboard and logs."""
        return self._name

    def run(self) -> None:
        """Work until :meth:`stop`."""
        try:
            self.heart.doing("preparing the model", self._starting)
            self._backend.prepare(self._rollout, self._completions, self.heart.note)
            self._loop.run(self._stopping.is_set)
        finally:
            self._backend.close()

    def load_weights(self, update: WeightsUpdate) -> int:
        """Replace the weights in place, between two batches or two steps (``rollout.update_between``)."""
        self._begin_turn()
        self._delay.loading(update.manifest.version, update.published)
        return self._report_version(self._loader.from_store(update))

    def receive_weights(self, plan: Plan, first_rank: int, version: int) -> int:
        """Replace the weights by ``version``, which rank 0 broadcasts; this worker's members begin at
        ``first_rank``."""
        self._delay.loading(version, time.time())
        return self._report_version(self._loader.by_broadcast(plan, first_rank))

    def verify_weights(self, update: WeightsUpdate, reload: bool) -> Verification:
        """Compare the weights with a published update; with ``reload``, corrupt them and load it before."""
        self._begin_turn()
        found = self._loader.verify(update, reload)
        self._report_version(found.version)
        return found

    def release_weights(self) -> Turn:
        """End this worker's turn on a device that it shares: hold no weights, once the batch under way has ended.

        Raises FenceTimeoutError where it does not end within ``deadlines.step_seconds``.
        """
        with self._fence.writing(-1, self._patience):
            self._backend.release()
        began, self._turn_began = self._turn_began, 0.0
        return Turn(began, time.time())

    def locations(self) -> tuple[Location, ...]:
        """Return where this worker's members of a broadcast are."""
        return self._backend.locations()

    def stop(self) -> None:
        """Finish the groups at hand and take no other."""
        self._stopping.set()

    def metrics_address(self) -> str:
        """Return host and port of the Prometheus endpoint."""
        return self._telemetry.address

    def _begin_turn(self) -> None:
        self._turn_began = self._turn_began or time.time()

    def _report_version(self, version: int) -> int:
        self._telemetry.set("worker/weights_version", version)
        return version

    def _report_delay(self, seconds: float) -> None:
        self._telemetry.set("worker/weights_delay", seconds)
        self.heart.measure("weights_delay", seconds)

    def _count_lost(self) -> None:
        self._telemetry.count("worker/refused")

    def _count(self, group: RolloutGroup) -> None:
        self._telemetry.count("worker/groups")
        self._telemetry.count("worker/samples", len(group.rollouts))
        self._telemetry.count("worker/busy", group.seconds)
        self._telemetry.count("worker/forwards", sum(rollout.forwards for rollout in group.rollouts))
        self._telemetry.count("worker/tokens", sum(rollout.text_tokens for rollout in group.rollouts))


def _estimate(backend: Backend, config: LearnerConfig) -> Estimate | None:
    """Return what estimates the likelihoods that the learner will want, None where it wants none."""
    if config.off_policy_cap is None:
        return None
    estimator = make_estimator(config.estimator, config.inner_iterations)
    return lambda key, text: backend.estimate(text, estimator.views(key, text))
