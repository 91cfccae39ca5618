"""A DeepSpeed rank of reinforcement learning as a Ray actor."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import ray

from common.config import Config
from common.records import TrajectoryGroup
from common.streams import TRAJECTORIES, Consumer, Streams, actor_patience, open_client
from common.turns import Turn
from common.weights.location import Location
from common.weights.messages import Offer, Plan, Publication
from learner.checkpoints import load_progress
from learner.collector import Collector
from learner.deepspeed_rank import DeepSpeedRank
from learner.learner_loop import LearnerLoop, StepReport
from learner.mismatch import MismatchMeter
from learner.progress import Progress
from learner.source import Lacking, TrajectorySource


class LearnerRank(DeepSpeedRank):
    """Rank ``rank`` of the learner. Call :meth:`start` on all ranks together, then :meth:`step` likewise."""

    def __init__(self, config: Config, run_id: str, redis_url: str, rank: int) -> None:
        super().__init__(config, run_id, rank)
        # torch and DeepSpeed: not for the process that only starts this actor.
        from learner.learning import load_learning

        self._load = load_learning
        self._config = config
        self._redis_url = redis_url
        self._interrupted = threading.Event()

    def start(self, rendezvous: tuple[str, int], checkpoint: Path | None) -> int:
        """Join the process group, build the engine, and restore ``checkpoint``. Returns the version."""
        self.heart.doing("loading the model", self._settings.deadlines.start_seconds)
        self._member.join(rendezvous)
        config, settings = self._config, self._config.learner
        learning = self._load(config, self._member)
        self._engine, self._publisher, self._sleeper = learning.engine, learning.publisher, learning.sleeper
        self._progress = Progress()
        if checkpoint is not None:
            self._engine.load(checkpoint)
            self._progress = load_progress(checkpoint, Progress)
        self._trajectories = self._source() if self._rank == 0 else None
        self._loop = LearnerLoop(
            settings,
            self._progress,
            self._engine,
            source=self._trajectories,
            share=self._share,
            measure=MismatchMeter(settings.mismatch_steps, config.run.seed, self._engine.token_estimates).measure,
            save_checkpoint=self._member.saver(self._engine),
        )
        if self._rank == 0 and settings.weights_transport != "object_store":
            self._publisher.prepare()
        self.heart.waiting("the next step")
        return self._progress.version

    def step(self, checkpoint: bool) -> StepReport | None:
        """Take one learner step, with ``checkpoint`` after a checkpoint of those before; rank 0 reports.

        All ranks return None if it was interrupted. Rank 0 raises StreamError where Redis cannot be used; then no
        step begins any more, and a checkpoint can still be written.
        """
        self._sleeper.require_awake("a step")
        self.heart.waiting(f"the groups of step {self._progress.version + 1}", self._longest_wait)
        report = self._loop.step(checkpoint)
        self.heart.waiting("the next step")
        if report is None:
            if self._trajectories is not None and self._trajectories.trouble is not None:
                raise self._trajectories.trouble
            return None
        self._telemetry.count("worker/groups", len(report.groups))
        self._telemetry.count("worker/samples", report.samples)
        self._telemetry.count(
            "worker/busy", report.metrics["seconds/update"] + report.metrics["seconds/checkpoint"]
        )
        return report if self._rank == 0 else None

    def sleep(self) -> Turn:
        """End this rank's turn on a GPU that it shares: what it holds there goes into the machine's memory."""
        with self.heart.during("moving what it holds off the GPU", self._config.deadlines.weights_seconds):
            return self._sleeper.sleep()

    def collect(self) -> bool:
        """Wait, asleep, for the groups of the next step: rank 0 for these, the others for the end of their sleep.

        Rank 0 returns False, or raises StreamError, where the step is not to begin. No rank waits for another
        here: that would keep the GPU busy.
        """
        self.heart.waiting(f"the groups of step {self._progress.version + 1}", self._longest_wait)
        if self._trajectories is None:
            return self._sleeper.await_wake(self._longest_wait)
        collected = self._loop.collect()
        if not collected and self._trajectories.trouble is not None:
            raise self._trajectories.trouble
        self.heart.waiting("its turn")
        return collected

    def wake(self) -> None:
        """Begin a turn: what this rank holds comes back onto the GPU; does nothing for one that is awake."""
        with self.heart.during("moving what it holds onto the GPU", self._config.deadlines.weights_seconds):
            self._sleeper.wake()

    def lacking(self, admitted: int) -> Lacking:
        """Return which groups below index ``admitted`` have not come; asked of rank 0 at any time."""
        if self._trajectories is None:
            raise RuntimeError(f"rank {self._rank} takes no groups")
        return self._trajectories.lacking(admitted)

    def interrupt(self) -> None:
        """End the step under way, if it still waits for its groups, as if it had not begun; asked of rank 0."""
        self._interrupted.set()

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained."""
        self._sleeper.require_awake("a checkpoint")
        self._loop.checkpoint()

    def location(self) -> Location:
        return Location.here()

    def meeting_point(self) -> tuple[str, int]:
        """Return where rank 0 and the rollout workers meet for a broadcast; asked of rank 0."""
        return self._publisher.meeting_point()

    def offer_weights(self, plan: Plan | None, keep: Collection[int]) -> Offer:
        """Take shared memory for the weights that are published next; asked of rank 0."""
        owner = ray.get_runtime_context().current_actor
        return self._publisher.offer(self._progress.version, plan, keep, owner)

    def stored_weights(self, serial: int) -> tuple[Any, ...] | None:
        """Return the newest weights' references in the object store, None while they are being published.

        Asked of rank 0 at any time.
        """
        return self._publisher.stored(serial)

    def publish(self, plan: Plan | None) -> Publication | None:
        """Publish the weights, by broadcast too if there is a plan; rank 0 returns the update."""
        self._sleeper.require_awake("a publication")
        with self.heart.during(f"publishing weights {self._progress.version}"):
            if self._rank:
                self._member.gather_along(self._engine)
                return None
            return self._publisher.publish(self._engine.parameters(), self._progress.version, plan)

    def call_off_broadcast(self, reason: str) -> None:
        """Give up the broadcast that rank 0 is in: one of its receivers is known to be dead."""
        self._publisher.call_off(reason)

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder of the current weights; rank 0 writes."""
        self._sleeper.require_awake("an export")
        with self.heart.during("exporting the model"):
            self._member.export(self._engine, self._config.model.path, folder)

    @property
    def _longest_wait(self) -> float:
        """Seconds that groups may take to come; the source gives up long before."""
        deadlines = self._config.deadlines
        return 2 * (deadlines.step_seconds + deadlines.redis_seconds)

    def _share(self, groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup] | None:
        """Give all ranks the groups that rank 0 has, which all of them train next."""
        shared = self._member.share(groups)
        if shared is not None:
            self.heart.doing(f"training step {self._progress.version + 1}")
        return shared

    def _source(self) -> TrajectorySource:
        config = self._config
        patience = actor_patience(config.deadlines.redis_seconds, self.heart)
        streams = Streams(open_client(self._redis_url), self._run_id, config.streams, patience)
        collector = Collector(
            groups_per_step=config.learner.groups_per_step,
            max_staleness=config.admission.max_staleness,
            stale=config.admission.stale,
            zero_variance=config.learner.zero_variance_groups,
            progress=self._progress,
            advantage=config.learner.advantage,
            keep_flat=config.admission.revisit < 1,
        )
        consumer = Consumer(streams, TRAJECTORIES, "learner-0")
        return TrajectorySource(
            streams,
            consumer,
            collector,
            config.deadlines.step_seconds,
            self._interrupted,
            config.admission.max_discarded,
        )
