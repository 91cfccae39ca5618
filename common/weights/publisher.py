"""The sending side of a weight update, on rank 0: into shared memory or the object store, and by broadcast."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from torch import Tensor

from common.weights.broadcast import Sender
from common.weights.buckets import fill_buckets
from common.weights.device_buckets import DeviceBuckets
from common.weights.layout import Layout, Manifest
from common.weights.location import Location
from common.weights.messages import Offer, Plan, Publication, SharedBuckets, WeightsGoneError, WeightsUpdate
from common.weights.segments import NoRoomError, Segment, Segments, segment_bytes
from common.weights.shared_reader import SharedReader

#: What receivers that read shared memory wait for at a time; two of it fit a processor's cache.
_SHARED_BUCKET_BYTES = 8 << 20


@dataclass(frozen=True)
class _Offered:
    manifest: Manifest
    segment: Segment
    where: SharedBuckets
    began: float

    @property
    def update(self) -> WeightsUpdate:
        return WeightsUpdate(self.manifest, self.where, self.began)


class Publisher:
    """Publishes weights bucket by bucket; beside shared memory this process never holds more than two."""

    def __init__(self, layout: Layout, deadline: float) -> None:
        self._layout = layout
        self._shared_layout = layout.in_place(min(_SHARED_BUCKET_BYTES, max(layout.sizes)))
        self._deadline = deadline
        self._sender: Sender | None = None
        self._segments = Segments()
        self._offered: _Offered | None = None
        self._last: _Offered | None = None
        self._storing = threading.Lock()
        self._stored: tuple[int, tuple[Any, ...]] = (0, ())

    def prepare(self) -> None:
        """Take shared memory for the next update in the background: to take it costs far more than to fill it."""
        self._segments.prepare(max(segment_bytes(layout) for layout in (self._layout, self._shared_layout)))

    def meeting_point(self) -> tuple[str, int]:
        """Return host and port of the store in which members of a broadcast meet; open it on the first call."""
        if self._sender is None:
            self._sender = Sender(Location.here(), self._deadline)
        return self._sender.address

    def call_off(self, reason: str) -> None:
        """Make the broadcast under way in another thread fail, if there is one."""
        if self._sender is not None:
            self._sender.call_off(reason)

    def offer(self, version: int, plan: Plan | None, keep: Collection[int] = (), owner: Any = None) -> Offer:
        """Take shared memory for what :meth:`publish` publishes next, under the same plan.

        Receivers may begin to read at once. ``keep`` are serials of updates that stay readable; ``owner`` is the
        actor that answers :meth:`stored`.
        """
        self._offered = None
        layout = self._shared_layout if plan is None else self._layout
        began = time.time()
        try:
            segment = self._segments.begin(layout, keep)
        except NoRoomError as error:
            return Offer(None, str(error))
        where = SharedBuckets(
            Location.here().node,
            os.getpid(),
            segment.descriptor,
            segment.key,
            segment.serial,
            owner,
            in_place=plan is None,
        )
        self._offered = _Offered(Manifest(version, layout, _on_device(plan)), segment, where, began)
        return Offer(self._offered.update)

    def publish(
        self, parameters: Iterable[tuple[str, Tensor]], version: int, plan: Plan | None = None
    ) -> Publication:
        """Put all weights where they were offered, or into the object store, and with a plan broadcast them too.

        A broadcast that fails or misses the deadline stops nothing: ``parameters`` are taken to their end, as the
        other ranks may gather them in step, and whoever missed it finds the weights where they were put. On a GPU
        they may be on their way there for some time yet.
        """
        offered = self._offered
        sender = self._sender if plan is not None else None

        def sent(manifest: Manifest, buckets: Iterator[Tensor]) -> Iterator[Tensor]:
            if plan is None or sender is None:
                return buckets
            return sender.send(plan, manifest, buckets, self._deadline)

        try:
            if offered is None or offered.manifest.version != version:
                update = self._store(parameters, Manifest(version, self._layout, _on_device(plan)), sent)
            else:
                with _given_up_on_failure(offered.segment):
                    self._share(offered, parameters, sent)
                update, self._last = offered.update, offered
                self.prepare()
        finally:
            self._offered = None
        return Publication(update, sender.failure if sender is not None else None)

    def stored(self, serial: int) -> tuple[Any, ...] | None:
        """Put the newest update into the object store, and return its references; called by another thread.

        Returns None while the update is still being published: receivers hear of it before. Raises
        :class:`WeightsGoneError` where the newest is not the one with this serial any more.
        """
        coming = self._offered
        if coming is not None and coming.where.serial == serial:
            return None
        with self._storing:
            last = self._last
            if self._stored[0] != serial:
                if last is None or last.where.serial != serial:
                    raise WeightsGoneError("these weights are no longer the newest")
                reader = SharedReader()
                with reader.reading(last.where, last.manifest, self._deadline) as opened:
                    self._stored = serial, tuple(ray.put(bucket.numpy()) for bucket in opened.buckets())
                reader.close()
            return self._stored[1]

    def _store(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        manifest: Manifest,
        sent: Callable[[Manifest, Iterator[Tensor]], Iterator[Tensor]],
    ) -> WeightsUpdate:
        began = time.time()
        buckets = sent(manifest, fill_buckets(manifest, parameters))
        return WeightsUpdate(manifest, tuple(ray.put(bucket.numpy()) for bucket in buckets), began)

    def _share(
        self,
        offered: _Offered,
        parameters: Iterable[tuple[str, Tensor]],
        sent: Callable[[Manifest, Iterator[Tensor]], Iterator[Tensor]],
    ) -> None:
        manifest, segment = offered.manifest, offered.segment
        memory = DeviceBuckets(manifest.layout.sizes, self._deadline) if manifest.on_device else None

        def host(number: int) -> Tensor:
            return segment.bucket(manifest.layout, number)

        filled = fill_buckets(manifest, parameters, host if memory is None else memory.of)
        for number, bucket in enumerate(sent(manifest, filled)):
            if memory is None:
                segment.ready(number + 1)
            else:
                memory.copy(bucket, host(number))
        if memory is not None:
            memory.when_copied(segment.ready, segment.give_up)


def _on_device(plan: Plan | None) -> bool:
    """Tell whether buckets are filled, broadcast and checked on GPUs."""
    return plan is not None and plan.backend == "nccl"


@contextmanager
def _given_up_on_failure(segment: Segment) -> Iterator[None]:
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            segment.give_up()
