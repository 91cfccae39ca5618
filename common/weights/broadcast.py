"""Broadcast of weights from the learner's rank 0 to the rollout workers, in a process group of their own.

torch's default group is DeepSpeed's, so the groups here are made directly, over a store that rank 0 serves. A
group does not outlive a failure: the rank that sees one reports it in the store, all leave, and the next broadcast
takes place in another group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from common.weights.broadcast_group import Group, Place, torch_errors
from common.weights.buckets import check_bucket
from common.weights.layout import Manifest
from common.weights.location import Location
from common.weights.messages import GRACE_SECONDS, BroadcastError, CalledOffError, Plan

#: Seconds in which every receiver has to let go of its weights, between two denoising steps or two batches. The
#: learner waits no longer for a receiver in a long batch: it calls the broadcast off.
READY_SECONDS = 5.0


class Sender:
    """The sending side, on rank 0. ``failure`` is why the last broadcast did not reach everybody, or None."""

    def __init__(self, location: Location, deadline: float) -> None:
        self._host = location.host
        self._store = TCPStore(
            location.host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=deadline)
        )
        self._place = Place()
        self.failure: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the store in which receivers meet."""
        return self._host, self._store.port

    def send(self, plan: Plan, manifest: Manifest, buckets: Iterable[Tensor], deadline: float) -> Iterator[Tensor]:
        """Yield the buckets, and broadcast each while the caller works on it.

        Never raises for a receiver's failure, nor where the broadcast has not ended after ``deadline`` seconds:
        the caller gets all buckets, and ``failure`` is set.
        """
        end = time.monotonic() + deadline
        self.failure = None
        self._attempt(self._begin, plan, manifest, end)
        for bucket in buckets:
            self._attempt(self._start, bucket, end)
            yield bucket
            self._attempt(self._finish, end)
        self._attempt(self._confirm, end)

    def call_off(self, reason: str) -> None:
        """Make the broadcast under way fail, if there is one; called by another thread, which knows the reason."""
        self._place.call_off(reason)

    def _attempt(self, step: Callable[..., None], *arguments: object) -> None:
        if self.failure is None:
            try:
                step(*arguments)
            except BroadcastError as error:
                silent = self._place.give_up(str(error), GRACE_SECONDS)
                self.failure = f"{error}; silent: {', '.join(silent)}" if silent else str(error)

    def _begin(self, plan: Plan, manifest: Manifest, end: float) -> None:
        group = self._place.enter(plan, 0, self._host, lambda: self._store, end)
        text = torch.frombuffer(bytearray(manifest.encode()), dtype=torch.uint8)
        for part in (torch.tensor([text.numel()]), text):
            group.start(part.to(group.device), end)
            group.finish(end)
        group.await_others("ready", min(end, time.monotonic() + READY_SECONDS))
        group.tell("sending")

    def _start(self, bucket: Tensor, end: float) -> None:
        group = self._place.group
        group.start(bucket.to(group.device), end)

    def _finish(self, end: float) -> None:
        self._place.group.finish(end)

    def _confirm(self, end: float) -> None:
        self._place.group.await_others("done", end)


class Receiver:
    """The receiving side, on a rollout worker."""

    def __init__(self, location: Location) -> None:
        self._host = location.host
        self._place = Place()
        self._lock = threading.Lock()

    @contextmanager
    def receiving(self, plan: Plan, rank: int, deadline: float) -> Iterator[tuple[Manifest, Iterator[Tensor]]]:
        """Take part in one broadcast: yield its manifest and its buckets, checked, each valid until the next.

        The first bucket is to be taken when the weights may be overwritten: it is sent once every receiver takes
        it. The buckets must be taken to their end inside the context; the sender learns whether they were. Raises
        :class:`CalledOffError` where no weights were sent; else :class:`BroadcastError` after ``deadline`` seconds
        at the latest, or when another rank fails, and :class:`WeightsError` on damage.
        """
        end = time.monotonic() + deadline
        if not self._lock.acquire(timeout=deadline):
            raise BroadcastError(f"an earlier broadcast has not ended within {deadline:.0f} s")
        try:
            group = self._place.enter(plan, rank, self._host, lambda: _open_store(plan, deadline), end)
            done = False
            try:
                size = _receive(group, torch.empty(1, dtype=torch.int64), end)
                text = _receive(group, torch.empty(int(size), dtype=torch.uint8), end)
                manifest = Manifest.decode(text.cpu().numpy().tobytes())
                yield manifest, _receive_buckets(group, manifest, end)
                group.tell("done")
                done = True
            finally:
                if not done:
                    self._place.give_up(f"{plan.members[rank - 1]} gave up")
        finally:
            self._lock.release()


def _open_store(plan: Plan, deadline: float) -> Store:
    host, port = plan.address
    with torch_errors(f"the learner's store at {host}:{port}"):
        store: Store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=deadline))
        return store


def _receive_buckets(group: Group, manifest: Manifest, end: float) -> Iterator[Tensor]:
    group.tell("ready")
    try:
        group.await_sender("sending", end)
    except BroadcastError as error:
        raise CalledOffError(str(error)) from error
    sizes = manifest.layout.sizes
    memory = torch.empty(max(sizes), dtype=torch.uint8, device=group.device)
    for number, size in enumerate(sizes):
        bucket = _receive(group, memory[:size], end)
        check_bucket(manifest, number, bucket)
        yield bucket


def _receive(group: Group, tensor: Tensor, end: float) -> Tensor:
    placed = tensor.to(group.device)
    group.start(placed, end)
    group.finish(end)
    return placed
