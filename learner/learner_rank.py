"""A DeepSpeed rank as a Ray actor."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from datetime import timedelta
from pathlib import Path

import ray
import torch.distributed as dist

from common.config import Config
from common.likelihood.registry import make_estimator
from common.models import runtime
from common.models.loading import load_model, model_folder
from common.streams import TRAJECTORIES, Consumer, Streams, connect
from common.telemetry import Telemetry, endpoint_host
from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.buckets import plan_layout
from common.weights.publisher import Publication, Publisher
from learner.checkpoints import CheckpointError, Checkpoints, load_progress
from learner.collector import Collector, Progress
from learner.export import export_model
from learner.learner_loop import LearnerLoop, StepReport
from learner.objectives.registry import make_objective
from learner.policy import Policy
from learner.preparation import prepare
from learner.resume_compatibility import binding_settings
from learner.source import TrajectorySource


class LearnerRank:
    """Rank ``rank`` of the learner. Call :meth:`start` on all ranks together, then :meth:`step` likewise."""

    def __init__(self, config: Config, run_id: str, redis_url: str, rank: int) -> None:
        self._config = config
        self._run_id = run_id
        self._redis_url = redis_url
        self._rank = rank
        self._interrupted = threading.Event()
        self._telemetry = Telemetry(
            "learner", f"learner-{rank}", run_id, host=endpoint_host("auto", config.ray.address)
        )

    def __repr__(self) -> str:
        """Name the actor as Ray's dashboard and logs show it."""
        return f"{self._run_id}/learner-{self._rank}"

    def rendezvous(self) -> tuple[str, int]:
        """Return an address and a free port for the process group; asked of rank 0."""
        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        with socket.socket() as probe:
            probe.bind((host, 0))
            return host, probe.getsockname()[1]

    def start(self, rendezvous: tuple[str, int], checkpoint: Path | None) -> int:
        """Join the process group, build the engine, and restore ``checkpoint``. Returns the version."""
        # DeepSpeed: not for the process that only starts this actor.
        from learner.collectives import broadcast_groups
        from learner.engine import Engine

        config = self._config
        if not (config.folder / "run.json").exists():
            host = socket.gethostname()
            raise CheckpointError(
                f"run.folder {config.folder}: not to be seen on {host}, where rank {self._rank} runs; set it to a "
                "path that the learner's machines share with the one that runs `couplet train`"
            )
        self._join(rendezvous)
        device = runtime.configure(config.model)
        settings = config.learner
        model = load_model(config.model.path, device)
        dtype = runtime.compute_dtype(config.model)
        # Now: later the model may hold adapters, or parts of its parameters.
        layout = plan_layout(model.named_parameters(), model.held_types(dtype), settings.bucket_mb << 20)
        self._publisher = Publisher(layout, config.deadlines.weights_seconds)
        prepare(model, settings, config.run.seed)
        policy = Policy(model, dtype, settings.logits_mb << 20)
        total_updates = config.run.total_steps * settings.updates_per_step
        estimator = make_estimator(settings.estimator, settings.inner_iterations)
        objective = make_objective(settings.objective)
        self._engine = Engine(policy, estimator, objective, settings, config.run.seed, total_updates)
        self._progress = Progress()
        if checkpoint is not None:
            self._engine.load(checkpoint)
            self._progress = load_progress(checkpoint)
        leader = self._rank == 0
        checkpoints = Checkpoints(
            config.folder / "checkpoints",
            settings.keep_checkpoints,
            leader,
            barrier=dist.barrier,
            settings=binding_settings(config),
        )
        self._loop = LearnerLoop(
            settings,
            self._progress,
            self._engine,
            source=self._source() if leader else None,
            share=broadcast_groups,
            save_checkpoint=lambda progress: checkpoints.save(progress, self._engine.save),
        )
        return self._progress.version

    def step(self, checkpoint: bool) -> StepReport | None:
        """Take one learner step, with ``checkpoint`` after a checkpoint of those before; rank 0 reports.

        All ranks return None if it was interrupted.
        """
        report = self._loop.step(checkpoint)
        if report is None:
            return None
        self._telemetry.count("worker/groups", len(report.groups))
        self._telemetry.count("worker/samples", report.samples)
        self._telemetry.count(
            "worker/busy", report.metrics["seconds/update"] + report.metrics["seconds/checkpoint"]
        )
        return report if self._rank == 0 else None

    def interrupt(self) -> None:
        """End the step under way, if it still waits for its groups, as if it had not begun; asked of rank 0."""
        self._interrupted.set()

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained."""
        self._loop.checkpoint()

    def location(self) -> Location:
        return Location.here()

    def meeting_point(self) -> tuple[str, int]:
        """Return where rank 0 and the rollout workers meet for a broadcast; asked of rank 0."""
        return self._publisher.meeting_point()

    def publish(self, plan: Plan | None) -> Publication | None:
        """Publish the weights, by broadcast too if there is a plan; rank 0 returns the update."""
        if self._rank:
            self._gather_along()
            return None
        return self._publisher.publish(self._engine.parameters(), self._progress.version, plan)

    def call_off_broadcast(self, reason: str) -> None:
        """Give up the broadcast that rank 0 is in: one of its receivers is known to be dead."""
        self._publisher.call_off(reason)

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder of the current weights; rank 0 writes."""
        if self._rank:
            self._gather_along()
            return
        source = model_folder(self._config.model.path)
        export_model(self._config.learner, self._engine.model_config, self._engine.parameters(), source, folder)

    def metrics_address(self) -> str:
        return self._telemetry.address

    def _gather_along(self) -> None:
        """Take part in gathering the weights that rank 0 reads; a collective call."""
        deque(self._engine.parameters(), maxlen=0)

    def _join(self, rendezvous: tuple[str, int]) -> None:
        host, port = rendezvous
        os.environ |= {
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
            "RANK": str(self._rank),
            "WORLD_SIZE": str(self._config.learner.ranks),
            "LOCAL_RANK": "0",
        }
        import deepspeed

        # On CPUs DeepSpeed would compile a shared-memory collective at start, which needs a compiler and a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(
            "nccl" if self._config.learner.gpus_per_rank else "gloo",
            timeout=timedelta(seconds=self._config.deadlines.step_seconds * 2),
            verbose=False,
        )

    def _source(self) -> TrajectorySource:
        config = self._config
        streams = Streams(connect(self._redis_url), self._run_id, config.streams)
        collector = Collector(
            groups_per_step=config.learner.groups_per_step,
            max_staleness=config.admission.max_staleness,
            stale=config.admission.stale,
            zero_variance=config.learner.zero_variance_groups,
            progress=self._progress,
            advantage=config.learner.advantage,
        )
        consumer = Consumer(streams, TRAJECTORIES, "learner-0")
        return TrajectorySource(streams, consumer, collector, config.deadlines.step_seconds, self._interrupted)
