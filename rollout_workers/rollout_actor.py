"""The rollout worker as a Ray actor."""

from __future__ import annotations

import threading
import time

from common.actors import WatchedActor
from common.config import Config
from common.records import RolloutGroup
from common.streams import PROMPTS, Consumer, Streams, actor_patience, open_client
from common.telemetry import Telemetry, endpoint_host
from common.turns import Turn
from common.weights.fence import VersionFence
from common.weights.location import Location
from common.weights.messages import Plan, Verification, WeightsUpdate
from rollout_workers.rollout_loop import RolloutLoop
from rollout_workers.weights_delay import WeightsDelay


class RolloutWorker(WatchedActor):
    """Runs the rollout loop in one thread and takes new weights in another."""

    def __init__(self, config: Config, run_id: str, redis_url: str, name: str) -> None:
        super().__init__(config.deadlines.progress_seconds)
        # torch: not for the process that only starts this actor.
        from rollout_workers.worker_parts import load_parts

        self._rollout = config.rollout
        self._starting = config.deadlines.start_seconds
        self._patience = deadline = config.deadlines.step_seconds
        self._fence = VersionFence()
        self._delay = WeightsDelay(self._report_delay)
        self._turn_began = 0.0
        self._stopping = threading.Event()
        self._name = f"{run_id}/{name}"
        parts = load_parts(config, name, self._fence, self.heart, self._delay.stepped)
        self._backend, self._loader, self._completions = parts.backend, parts.loader, parts.completions
        self._telemetry = Telemetry("rollout", name, run_id, host=endpoint_host("auto", config.ray.address))
        patience = actor_patience(config.deadlines.redis_seconds, self.heart)
        streams = Streams(open_client(redis_url), run_id, config.streams, patience)
        self._loop = RolloutLoop(
            name,
            Consumer(streams, PROMPTS, name),
            parts.engine,
            config.streams.deliveries,
            deadline,
            self._count,
            self._count_lost,
            self.heart,
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
