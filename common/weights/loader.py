"""The receiving side of a weight update, on a rollout worker: from the object store, or by broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ray
from torch import Tensor

from common.weights.broadcast import Location, Receiver
from common.weights.broadcast_group import Plan
from common.weights.buckets import WeightsUpdate, read_buckets, stored_buckets
from common.weights.fence import VersionFence


class WeightsLoader:
    """Overwrites weights in place behind a fence; a failure there leaves the worker without a version.

    ``load`` is given all parameters, each valid until the next. All deadlines are ``deadline`` seconds.
    """

    def __init__(
        self, load: Callable[[Iterable[tuple[str, Tensor]]], None], fence: VersionFence, deadline: float
    ) -> None:
        self._load = load
        self._fence = fence
        self._deadline = deadline
        self._receiver: Receiver | None = None

    def from_store(self, update: WeightsUpdate) -> int:
        """Load an update from the object store and return its version. A damaged one changes nothing.

        Raises WeightsError, Ray's errors, or FenceTimeoutError.
        """
        manifest = update.manifest
        buckets = stored_buckets(manifest, ray.get(list(update.buckets), timeout=self._deadline))
        with self._fence.writing(manifest.version, self._deadline):
            self._load(read_buckets(manifest, buckets))
        return manifest.version

    def by_broadcast(self, plan: Plan, rank: int) -> int:
        """Take part in a broadcast as ``rank``, load every bucket as it comes, and return the version.

        Raises BroadcastError, WeightsError, or FenceTimeoutError.
        """
        if self._receiver is None:
            self._receiver = Receiver(Location.here())
        with self._receiver.receiving(plan, rank, self._deadline) as (manifest, buckets):
            with self._fence.writing(manifest.version, self._deadline):
                self._load(read_buckets(manifest, buckets))
        return manifest.version
