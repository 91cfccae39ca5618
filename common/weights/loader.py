"""The receiving side of a weight update, on a rollout worker: from the object store, or by broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import ray
from torch import Tensor

from common.weights.broadcast import Location, Receiver
from common.weights.broadcast_group import Plan
from common.weights.buckets import WeightsUpdate, read_buckets, stored_buckets
from common.weights.fence import VersionFence

#: Overwrites all weights in place; each tensor it is given is valid until the next.
Load = Callable[[Iterable[tuple[str, Tensor]]], None]


class WeightsHolder(Protocol):
    """What holds the weights of a worker: its own process, or several that each hold a part."""

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite all weights in place; each tensor is valid until the next."""

    def receiving(
        self, plan: Plan, rank: int, deadline: float
    ) -> AbstractContextManager[tuple[int, Callable[[], None]]]:
        """Take part in one broadcast, as ``rank`` and, where there are more processes, the ranks that follow.

        Yields the version that is being sent, and what receives and loads it, to be called once in the context.
        """


class LocalWeights:
    """Weights that this process holds alone."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._receiver: Receiver | None = None

    @contextmanager
    def receiving(self, plan: Plan, rank: int, deadline: float) -> Iterator[tuple[int, Callable[[], None]]]:
        """Take part in one broadcast: yield its version, and what loads every bucket as it comes.

        Raises BroadcastError or WeightsError.
        """
        if self._receiver is None:
            self._receiver = Receiver(Location.here())
        with self._receiver.receiving(plan, rank, deadline) as (manifest, buckets):
            yield manifest.version, lambda: self.load(read_buckets(manifest, buckets))


class WeightsLoader:
    """Overwrites weights in place behind a fence; a failure there leaves the worker without a version.

    All deadlines are ``deadline`` seconds.
    """

    def __init__(self, holder: WeightsHolder, fence: VersionFence, deadline: float) -> None:
        self._holder = holder
        self._fence = fence
        self._deadline = deadline

    def from_store(self, update: WeightsUpdate) -> int:
        """Load an update from the object store and return its version. A damaged one changes nothing.

        Raises WeightsError, Ray's errors, or FenceTimeoutError.
        """
        manifest = update.manifest
        buckets = stored_buckets(manifest, ray.get(list(update.buckets), timeout=self._deadline))
        with self._fence.writing(manifest.version, self._deadline):
            self._holder.load(read_buckets(manifest, buckets))
        return manifest.version

    def by_broadcast(self, plan: Plan, first_rank: int) -> int:
        """Take part in a broadcast, load what comes, and return the version.

        Raises BroadcastError, WeightsError, or FenceTimeoutError.
        """
        with self._holder.receiving(plan, first_rank, self._deadline) as (version, finish):
            with self._fence.writing(version, self._deadline):
                finish()
        return version
