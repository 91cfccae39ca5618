"""The sending side of a weight update, on rank 0: buckets into the object store, and by broadcast."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import ray
from torch import Tensor

from common.weights.broadcast import Location, Sender
from common.weights.broadcast_group import Plan
from common.weights.buckets import Layout, Manifest, WeightsUpdate, fill_buckets


@dataclass(frozen=True)
class Publication:
    """A published update. ``failure`` is why its broadcast did not reach everybody; None if it did, or without
    one."""

    update: WeightsUpdate
    failure: str | None = None


class Publisher:
    """Publishes weights bucket by bucket; this process never holds more than one."""

    def __init__(self, layout: Layout, deadline: float) -> None:
        self._layout = layout
        self._deadline = deadline
        self._sender: Sender | None = None

    def meeting_point(self) -> tuple[str, int]:
        """Return host and port of the store in which members of a broadcast meet; open it on the first call."""
        if self._sender is None:
            self._sender = Sender(Location.here(), self._deadline)
        return self._sender.address

    def call_off(self, reason: str) -> None:
        """Make the broadcast under way in another thread fail, if there is one."""
        if self._sender is not None:
            self._sender.call_off(reason)

    def publish(
        self, parameters: Iterable[tuple[str, Tensor]], version: int, plan: Plan | None = None
    ) -> Publication:
        """Put all weights into the object store, and with a plan broadcast them too.

        A broadcast that fails or misses the deadline stops nothing: ``parameters`` are taken to their end, as the
        other ranks may gather them in step, and whoever missed it finds the weights in the object store.
        """
        began = time.time()
        manifest = Manifest(version, self._layout)
        buckets = fill_buckets(manifest, parameters)
        sender = self._sender if plan is not None else None
        if plan is not None and sender is not None:
            buckets = sender.send(plan, manifest, buckets, self._deadline)
        references = tuple(ray.put(bucket.numpy()) for bucket in buckets)
        return Publication(
            WeightsUpdate(manifest, references, began), sender.failure if sender is not None else None
        )
