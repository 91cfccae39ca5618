"""The receiving side of a weight update, on a rollout worker: from shared memory or the object store, or by
broadcast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError
from torch import Tensor

from common.heartbeat import Heartbeat
from common.weights.broadcast import Receiver
from common.weights.buckets import read_buckets, stored_buckets
from common.weights.fence import VersionFence
from common.weights.layout import Layout, Manifest
from common.weights.location import Location
from common.weights.messages import (
    CalledOffError,
    Plan,
    SharedBuckets,
    Verification,
    WeightsGoneError,
    WeightsUpdate,
)
from common.weights.shared_reader import OpenUpdate, SharedReader

#: Between two questions whether an update is there.
_ASK_SECONDS = 0.05


class Weights(Protocol):
    """The weights of a model; each tensor that they are given to load is valid until the next."""

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        """Hold all weights, which lie so in memory that nobody writes to, where they are, until others come.

        Return False, with none taken, where they cannot be held so. Raises WeightsError for those of another
        model; then nothing has changed.
        """

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite all weights in place. Raises WeightsError for those of another model."""

    def corrupt(self) -> None:
        """Overwrite every element with NaN."""

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Name the tensors that are not held bit for bit."""


class WeightsHolder(Weights, Protocol):
    """What holds the weights of a worker: its own process, or several that each hold a part."""

    def receiving(
        self, plan: Plan, rank: int, deadline: float
    ) -> AbstractContextManager[tuple[int, Callable[[], None]]]:
        """Take part in one broadcast, as ``rank`` and, where there are more processes, the ranks that follow.

        Yields the version that is being sent, and what receives and loads it, to be called once in the context.
        """


class _Update(Protocol):
    """An update whose buckets can be read, again and again."""

    def buckets(self, check: bool = False) -> Iterable[Tensor]:
        """Return the buckets in order. ``check`` those that another process may have checked for this one."""


class _Stored:
    """An update that was taken out of the object store, and checked."""

    def __init__(self, buckets: Sequence[Tensor]) -> None:
        self._buckets = buckets

    def buckets(self, check: bool = False) -> Iterable[Tensor]:
        return self._buckets


class LocalWeights:
    """Weights that this process holds alone."""

    def __init__(self, weights: Weights) -> None:
        self.adopt = weights.adopt
        self.load = weights.load
        self.corrupt = weights.corrupt
        self.differing = weights.differing
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
    """Replaces weights behind a fence; a failure there leaves the worker without a version.

    They are held where they were published, in memory that this machine shares, if they can be, and overwritten in
    place if not. Getting them may take ``deadline`` seconds, as ``heart`` is told; a batch may keep the fence for
    ``patience`` seconds.
    """

    def __init__(
        self, holder: WeightsHolder, fence: VersionFence, deadline: float, patience: float, heart: Heartbeat
    ) -> None:
        self._holder = holder
        self._fence = fence
        self._deadline = deadline
        self._patience = patience
        self._heart = heart
        self._reader = SharedReader()

    def from_store(self, update: WeightsUpdate) -> int:
        """Load an update from where it was published and return its version.

        One that is damaged in the object store changes nothing; nor does one that is gone (WeightsGoneError). In
        shared memory it may not have been filled yet: each bucket is loaded when it comes, and BroadcastError says
        that no more will. Raises WeightsError, Ray's errors, or FenceTimeoutError.
        """
        version = update.manifest.version
        opening = self._opening(update)
        with self._fence.writing(version, self._patience, WeightsGoneError), opening as opened:
            with self._loading(version):
                self._take(update.manifest, opened)
        return version

    def by_broadcast(self, plan: Plan, first_rank: int) -> int:
        """Take part in a broadcast, load what comes, and return the version.

        Raises CalledOffError where no weights came, BroadcastError, WeightsError, or FenceTimeoutError.
        """
        with self._holder.receiving(plan, first_rank, self._deadline) as (version, finish):
            with self._fence.writing(version, self._patience, CalledOffError), self._loading(version):
                finish()
                self._reader.let_go()
        return version

    def verify(self, update: WeightsUpdate, reload: bool) -> Verification:
        """Compare all weights with a published update, bit for bit.

        With ``reload`` they are corrupted first and loaded from there, so that nothing can be right by chance;
        without, they are compared as they are held. Raises what :meth:`from_store` raises.
        """
        began = time.monotonic()
        manifest, opening = update.manifest, self._opening(update)
        with self._fence.writing(manifest.version, self._patience, WeightsGoneError), opening as opened:
            with self._loading(manifest.version):
                if reload:
                    self._holder.corrupt()
                    self._take(manifest, opened)
                differing = self._holder.differing(read_buckets(manifest, opened.buckets(check=True)))
        entries = [entry for bucket in manifest.layout.buckets for entry in bucket]
        size = sum(entry.end - entry.offset for entry in entries)
        seconds = time.monotonic() - began
        return Verification(manifest.version, reload, len(entries), size, seconds, tuple(differing))

    def _take(self, manifest: Manifest, opened: _Update) -> None:
        """Hold an update where it is, where that can be, or overwrite the weights."""
        weights = read_buckets(manifest, opened.buckets())
        if isinstance(opened, OpenUpdate) and opened.in_place and self._holder.adopt(manifest.layout, weights):
            opened.keep()
        else:
            self._holder.load(weights)
            self._reader.let_go()

    def _loading(self, version: int) -> AbstractContextManager[None]:
        return self._heart.during(f"loading weights {version}", self._deadline)

    def _opening(self, update: WeightsUpdate) -> AbstractContextManager[_Update]:
        """Return what opens an update. The object store's is taken from there and checked at once."""
        where = update.buckets
        if not isinstance(where, SharedBuckets):
            return nullcontext(self._fetch(update, where))
        if where.node == Location.here().node:
            return self._reader.reading(where, update.manifest, self._deadline)
        return nullcontext(self._fetch(update, self._stored(where)))

    def _stored(self, where: SharedBuckets) -> Sequence[Any]:
        """Have the learner's node put an update into the object store, once all of it is there."""
        end = time.monotonic() + self._deadline
        try:
            # Asked again and again: a call that waited would keep a thread of the learner, which publishes in one.
            while True:
                stored: Sequence[Any] | None = ray.get(
                    where.owner.stored_weights.remote(where.serial), timeout=self._deadline
                )
                if stored is not None:
                    return stored
                if time.monotonic() > end:
                    raise WeightsGoneError(f"the weights were not published within {self._deadline:.0f} s")
                time.sleep(_ASK_SECONDS)
        except RayActorError as error:
            raise WeightsGoneError("the learner that published the weights has ended") from error

    def _fetch(self, update: WeightsUpdate, references: Sequence[Any]) -> _Stored:
        return _Stored(stored_buckets(update.manifest, ray.get(list(references), timeout=self._deadline)))
