"""New weights on their way from one actor to others, by each transport, beside a plain copy of as many bytes.

Everything between the sender's parameters and the receivers' is the product's own: the learner's group of ranks,
the pool of workers, publisher, broadcast and loader. Only the weights are made up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import xxhash
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from common.actors import WatchedActor, as_remote
from common.config import Config
from common.weights.buckets import plan_layout
from common.weights.comparison import HeldTensors
from common.weights.fence import VersionFence
from common.weights.loader import LocalWeights, WeightsLoader
from common.weights.location import Location
from common.weights.messages import Offer, Plan, Publication, WeightsUpdate
from common.weights.planner import Transport
from common.weights.publisher import Publisher
from orchestrator.fleet.actor_environment import ACTOR_ENVIRONMENT
from orchestrator.fleet.cluster import local_ray
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.pool import PoolSpec, WorkerPool

_MIB = 2**20
_TICK_SECONDS = 0.005
_COLUMNS = 1024  # whole rows make up any number of MiB, in either type
_PARAMETER_BYTES = 16 * _MIB
_BUCKET_BYTES = Config.model_fields["learner"].default.bucket_mb * _MIB
TRANSPORTS: tuple[Transport, ...] = ("auto", "object_store", "collective")
#: What :func:`run` does beside transports, and what each transport does beside its timed updates.
STAGES, TRANSPORT_STAGES = 1, 3

_LEGEND = (
    "Medians of updates, each timed from the order to publish until every worker held it checked; the first takes "
    "memory that nobody has used, and forms the group of a broadcast. copy: a plain copy of as many bytes from "
    "memory to memory by one thread, in turns with the updates. copies: an update's time in such copies, and in "
    "as many of them as there are workers. auto: workers check in shared memory what has been filled while more "
    "comes, and hold it there. The object store takes each bucket first; a broadcast sends it through sockets."
)


class BenchmarkError(RuntimeError):
    """A measurement that does not measure what it should."""


@dataclass(frozen=True)
class Settings:
    """``mib`` are those that are published; the sender holds fp32."""

    mib: int
    workers: int
    dtype: str
    repeats: int

    @property
    def bytes(self) -> int:
        return self.mib * _MIB


@dataclass(frozen=True)
class Case:
    """Seconds of updates by one transport, and of plain copies of the same bytes in turns with them."""

    transport: str
    first_seconds: float
    seconds: tuple[float, ...]
    copy_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def copy_median(self) -> float:
        return statistics.median(self.copy_seconds)

    @property
    def copies(self) -> float:
        """The time of an update in plain copies: the median of the pairs."""
        pairs = zip(self.seconds, self.copy_seconds, strict=True)
        return statistics.median(seconds / copy for seconds, copy in pairs)


class SendingRank(WatchedActor):
    """The learner's only rank, as :class:`LearnerGroup` knows it, without a learner: it publishes parameters."""

    def __init__(
        self, parameters: Mapping[str, Tensor], dtype: torch.dtype, bucket_bytes: int, deadline: float
    ) -> None:
        super().__init__(deadline)
        torch.set_num_threads(1)
        self._parameters = parameters
        layout = plan_layout(parameters.items(), dict.fromkeys(parameters, dtype), bucket_bytes)
        self._publisher = Publisher(layout, deadline)
        self._version = 0

    def rendezvous(self) -> None:
        pass

    def start(self, rendezvous: None, checkpoint: None) -> int:
        self._publisher.prepare()
        return self._version

    def metrics_address(self) -> str:
        return ""

    def location(self) -> Location:
        return Location.here()

    def meeting_point(self) -> tuple[str, int]:
        return self._publisher.meeting_point()

    def call_off_broadcast(self, reason: str) -> None:
        self._publisher.call_off(reason)

    def offer_weights(self, plan: Plan | None, keep: Sequence[int]) -> Offer:
        return self._publisher.offer(self._version, plan, keep, ray.get_runtime_context().current_actor)

    def stored_weights(self, serial: int) -> tuple[Any, ...] | None:
        return self._publisher.stored(serial)

    def publish(self, plan: Plan | None) -> Publication:
        return self._publisher.publish(self._parameters.items(), self._version, plan)


class MadeUpRank(SendingRank):
    """One whose parameters are made up, in the size of the settings."""

    def __init__(self, settings: Settings, deadline: float) -> None:
        bucket = min(_BUCKET_BYTES, settings.bytes // 2)
        super().__init__(_parameters(settings, torch.float32), getattr(torch, settings.dtype), bucket, deadline)

    def change(self) -> None:
        """Other weights, so that an update that does not arrive would show."""
        self._version += 1
        for parameter in self._parameters.values():
            parameter[0].add_(1.0)

    def digest(self, dtype: str) -> str:
        return _digest(self._parameters, getattr(torch, dtype))


class ReceivingWorker(WatchedActor):
    """A rollout worker, as :class:`WorkerPool` knows it, that only loads weights."""

    def __init__(self, settings: Settings, deadline: float) -> None:
        super().__init__(deadline)
        torch.set_num_threads(1)
        self._parameters = _parameters(settings, getattr(torch, settings.dtype))
        weights = LocalWeights(HeldTensors(self._parameters))
        self._loader = WeightsLoader(weights, VersionFence(), deadline, deadline, self.heart)

    def metrics_address(self) -> str:
        return ""

    def locations(self) -> tuple[Location, ...]:
        return (Location.here(),)

    def run(self) -> None:
        self.heart.waiting("weights")

    def stop(self) -> None:
        pass

    def load_weights(self, update: WeightsUpdate) -> int:
        return self._loader.from_store(update)

    def receive_weights(self, plan: Plan, first_rank: int, version: int) -> int:
        return self._loader.by_broadcast(plan, first_rank)

    def digest(self, dtype: str) -> str:
        return _digest(self._parameters, getattr(torch, dtype))


def run(
    settings: Settings, transports: Sequence[Transport], folder: Path, said: Callable[[str], None]
) -> list[Case]:
    """Measure every transport. ``folder`` takes what Ray needs while it runs; ``said`` is told of each stage."""
    said("starting Ray")
    copy = PlainCopy(settings.bytes)
    # Two versions: the memory of one is freed some time after it was let go.
    with local_ray(folder, dashboard=False, object_store_bytes=2 * settings.bytes + (256 << 20)):
        return [_case(settings, transport, copy, said) for transport in transports]


def as_json(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> dict[str, Any]:
    found = [asdict(case) | {"median_seconds": case.median, "copies": case.copies} for case in cases]
    return {
        "bench": "weights",
        "machine": machine,
        "settings": asdict(settings),
        "cases": found,
    }


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """The header, the table and what its columns mean."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("transport")
    for title in ("first s", "s", "range", "GiB/s", "copy s", "copies", f"copies x {settings.workers}"):
        table.add_column(title, justify="right")
    for case in cases:
        table.add_row(
            case.transport,
            f"{case.first_seconds:.3f}",
            f"{case.median:.3f}",
            f"{min(case.seconds):.3f}-{max(case.seconds):.3f}",
            f"{settings.bytes / 2**30 / case.median:.2f}",
            f"{case.copy_median:.3f}",
            f"{case.copies:.1f}",
            f"{case.copies / settings.workers:.2f}",
        )
    header = (
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"load {machine['load']:.1f} at the start\n"
        f"{settings.mib:,} MiB in {settings.dtype} to {settings.workers} workers on this machine, "
        f"{settings.repeats} updates each"
    )
    return Group(Text(header), Text(), table, Text(), Text(_LEGEND))


def _case(settings: Settings, transport: Transport, copy: PlainCopy, said: Callable[[str], None]) -> Case:
    """Actors of one transport, from their start to their end."""
    config = Config.model_validate(
        {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}, "deadlines": {"restarts": 0}}
    )
    deadline = config.deadlines.weights_seconds
    actors: list[Any] = []

    def spawner(actor: type) -> Callable[[Any, str], Any]:
        remote = as_remote(actor)
        options = {"num_cpus": 0, "max_concurrency": 4, "runtime_env": {"env_vars": ACTOR_ENVIRONMENT}}

        def spawn(identity: Any, name: str) -> Any:
            actors.append(remote.options(**options).remote(settings, deadline))
            return actors[-1]

        return spawn

    said(f"{transport}: starting actors")
    learner = LearnerGroup(config, spawner(MadeUpRank), check_stop=lambda: None)
    learner.start(None)
    spec = PoolSpec("receiver", settings.workers, needs_weights=True, transport=transport)
    pool = WorkerPool(spec, spawner(ReceivingWorker), config.deadlines)
    pool.wait_until_started(lambda: None)
    _update(learner, pool, actors)  # a worker's first weights never come by broadcast
    seconds, copies = [], []
    for number in range(1 + settings.repeats):
        said(f"{transport}: update {number} of {settings.repeats}" if number else f"{transport}: first update")
        seconds.append(_update(learner, pool, actors))
        copies.append(copy.seconds())
    said(f"{transport}: comparing")
    digests = set(ray.get([actor.digest.remote(settings.dtype) for actor in actors], timeout=deadline))
    if len(digests) != 1:
        raise BenchmarkError(f"{transport}: the workers do not hold the weights that were sent")
    for actor in actors:
        ray.kill(actor)
    return Case(transport, seconds[0], tuple(seconds[1:]), tuple(copies[1:]))


def _update(learner: LearnerGroup, pool: WorkerPool, actors: Sequence[Any]) -> float:
    """Seconds in which new weights get from the first of the actors to the others."""
    ray.get(actors[0].change.remote(), timeout=60.0)
    started = time.perf_counter()
    notes = pool.publish(learner, watch=lambda: None)
    while not pool.all_healthy:
        notes += pool.poll()
        time.sleep(_TICK_SECONDS)
    seconds = time.perf_counter() - started
    if notes:
        raise BenchmarkError("; ".join(notes))
    return seconds


class PlainCopy:
    """A copy of bytes by one thread, into memory that the process has used before."""

    def __init__(self, size: int) -> None:
        self._source = np.ones(size, dtype=np.uint8)
        self._target = np.full_like(self._source, 2)

    def seconds(self) -> float:
        started = time.perf_counter()
        np.copyto(self._target, self._source)
        return time.perf_counter() - started


def _parameters(settings: Settings, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters of together as many bytes in the settings' type; their values tell them apart."""
    width = getattr(torch, settings.dtype).itemsize * _COLUMNS
    size = min(_PARAMETER_BYTES, settings.bytes)
    sizes = [size] * (settings.bytes // size) + [settings.bytes % size]
    return {
        f"parameter-{number}": torch.full((size // width, _COLUMNS), float(number), dtype=dtype)
        for number, size in enumerate(sizes)
        if size
    }


def _digest(parameters: Mapping[str, Tensor], dtype: torch.dtype) -> str:
    digest = xxhash.xxh3_128()
    for name, tensor in parameters.items():
        digest.update(name.encode())
        digest.update(tensor.to(dtype).view(torch.uint8).numpy().data)
    return digest.hexdigest()
