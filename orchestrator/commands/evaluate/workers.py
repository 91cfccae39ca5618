"""The workers of an evaluation: actors of a Ray of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from common.config import DeadlinesConfig
from evaluation.completers.fleet import FleetCompleter
from evaluation.completion_worker import CompletionWorker
from evaluation.settings import EvaluationSettings
from orchestrator.fleet.cluster import SMALL_STORE_BYTES, ClusterError, actor_resources, lacking, local_ray
from orchestrator.fleet.forking.forked import forked_completers
from orchestrator.fleet.spawning import spawner


@contextmanager
def running_workers(
    settings: EvaluationSettings,
    longest: int,
    workers: int,
    note: Callable[[str], None],
    check: Callable[[], None],
) -> Iterator[FleetCompleter]:
    """Start a local Ray and the workers, each with the model, for the length of the context.

    ``longest``: of the sequences, prompt and completion. ``note`` is told of workers that are replaced; ``check``
    is called while waiting, and may raise. Raises what :meth:`Subject.load` raises, WorkerFailedError, and
    ClusterError where Ray does not start or there are too few GPUs.
    """
    deadlines = DeadlinesConfig()
    gpus = _gpus(settings)
    each = actor_resources(gpus, None)
    name = f"evaluate-{os.getpid()}"
    with TemporaryDirectory(prefix="couplet-evaluate-") as folder, forked_completers(gpus):
        with local_ray(Path(folder), dashboard=False, object_store_bytes=SMALL_STORE_BYTES, namespace=name):
            have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            if lack := lacking({kind: workers * amount for kind, amount in each.items()}, have):
                raise ClusterError(f"--workers {workers}: takes more than this machine has: {lack}")
            arguments = (_shared_out(settings, workers), longest, deadlines.start_seconds)
            spawn = spawner(CompletionWorker, name, arguments, each)

            def spawn_worker(worker: str) -> Any:
                return spawn(worker, worker)

            with closing(FleetCompleter(workers, spawn_worker, deadlines, note, check)) as fleet:
                yield fleet


def _gpus(settings: EvaluationSettings) -> int:
    """Return the GPUs that a worker takes; 0 where it computes on CPUs."""
    if settings.model.device == "cpu":
        return 0
    import torch  # takes seconds, and tells GPUs alone

    return settings.tensor_parallel_size if torch.cuda.is_available() else 0


def _shared_out(settings: EvaluationSettings, workers: int) -> EvaluationSettings:
    """Share out the cores, unless the threads of each are given."""
    threads = settings.model.threads or max(1, len(os.sched_getaffinity(0)) // workers)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"threads": threads})})
