"""Broadcast of weights from the learner's rank 0 to the rollout workers, in a process group of their own.

torch's default group is DeepSpeed's, so the groups here are made directly, over a store that rank 0 serves. A
group does not outlive a failure: whoever sees one says so in the store, all let go, and the next broadcast is
given another group.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import ray
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from common.models.weights import Manifest, check_bucket

#: How often a rank that waits asks whether another has failed: gloo does not always wake it.
_ASK_SECONDS = 0.2
_POLL_SECONDS = 0.0005
_LONGEST_POLL_SECONDS = 0.005
#: After a failure, the time in which a rank that lives says that it ended.
GRACE_SECONDS = 5.0


class BroadcastError(RuntimeError):
    """A broadcast that did not reach everybody; the message names who was silent, where that is known."""


@dataclass(frozen=True)
class Location:
    """Where an actor runs: Ray's id of the machine, its address, and the id of the actor's GPU (or nothing)."""

    node: str
    host: str
    gpu: str

    @classmethod
    def here(cls) -> Location:
        """Of the actor that asks."""
        gpu = str(torch.cuda.get_device_properties(0).uuid) if torch.cuda.is_available() else ""
        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        return cls(ray.get_runtime_context().get_node_id(), host, gpu)


@dataclass(frozen=True)
class Plan:
    """A group to broadcast in: the sender is rank 0 and ``members`` are the others, in order.

    The group is kept for as long as plans are equal. ``key`` tells groups of the same sender apart;
    ``address`` is that of the sender's store.
    """

    key: str
    address: tuple[str, int]
    members: tuple[str, ...]
    backend: Literal["gloo", "nccl"]


class Sender:
    """Rank 0's end. ``failure`` says why the last broadcast did not reach everybody, or is None."""

    def __init__(self, location: Location, deadline: float) -> None:
        self._host = location.host
        self._store = TCPStore(
            location.host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=deadline)
        )
        self._place = _Place()
        self.failure: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Of the store that receivers meet in."""
        return self._host, self._store.port

    def send(self, plan: Plan, manifest: Manifest, buckets: Iterable[Tensor], deadline: float) -> Iterator[Tensor]:
        """Hand the buckets through, and broadcast each while the caller is busy with it.

        A receiver's failure never raises: the caller gets all of its buckets, and ``failure`` is set. That is so
        too where the broadcast has not ended ``deadline`` seconds after its begin.
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
        """Have the broadcast that is under way fail, if there is one; for another thread, which knows more."""
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

    def _start(self, bucket: Tensor, end: float) -> None:
        group = self._place.group
        group.start(bucket.to(group.device), end)

    def _finish(self, end: float) -> None:
        self._place.group.finish(end)

    def _confirm(self, end: float) -> None:
        self._place.group.await_others("done", end)


class Receiver:
    """A rollout worker's end."""

    def __init__(self, location: Location) -> None:
        self._host = location.host
        self._place = _Place()
        self._lock = threading.Lock()

    @contextmanager
    def receiving(self, plan: Plan, rank: int, deadline: float) -> Iterator[tuple[Manifest, Iterator[Tensor]]]:
        """One broadcast: its manifest, and its buckets as they come, checked, each valid until the next.

        The buckets must be taken to their end inside the context; the sender learns whether they were. Raises
        :class:`BroadcastError` after ``deadline`` seconds at the latest, or when another rank fails, and
        :class:`WeightsError` on damage.
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
    with _torch_errors(f"the learner's store at {host}:{port}"):
        store: Store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=deadline))
        return store


def _receive_buckets(group: _Group, manifest: Manifest, end: float) -> Iterator[Tensor]:
    sizes = manifest.layout.sizes
    memory = torch.empty(max(sizes), dtype=torch.uint8, device=group.device)
    for number, size in enumerate(sizes):
        bucket = _receive(group, memory[:size], end)
        check_bucket(manifest, number, bucket.cpu().numpy())
        yield bucket


def _receive(group: _Group, tensor: Tensor, end: float) -> Tensor:
    placed = tensor.to(group.device)
    group.start(placed, end)
    group.finish(end)
    return placed


class _Place:
    """A process's place in a group, and the groups it has left in which an operation has not ended yet.

    gloo cannot call an operation off: to drop its group would block this process until the operation's deadline.
    """

    def __init__(self) -> None:
        self._group: _Group | None = None
        self._left: list[_Group] = []

    @property
    def group(self) -> _Group:
        if self._group is None:
            raise BroadcastError("no group")
        return self._group

    def enter(self, plan: Plan, rank: int, host: str, open_store: Callable[[], Store], end: float) -> _Group:
        """The group of the plan, which is joined unless it is the present one; begins a round of operations."""
        self._left = [group for group in self._left if not group.idle]
        if self._group is None or self._group.plan != plan:
            self._leave()
            self._group = _Group(plan, rank, open_store())
            try:
                self._group.join(host, end)
            except BroadcastError as error:
                self.give_up(str(error))
                raise
        self._group.round += 1
        return self._group

    def give_up(self, reason: str, grace: float = 0.0) -> list[str]:
        """Leave the group and say why; who does not say so too, or that it is done, in ``grace`` seconds."""
        silent = []
        if self._group is not None:
            self._group.fail(reason)
            silent = self._group.silent(grace) if grace else []
        self._leave()
        return silent

    def call_off(self, reason: str) -> None:
        """Make everybody in the group see a failure, this process included."""
        group = self._group
        if group is not None:
            group.fail(reason)

    def _leave(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.close()
            if not group.idle:
                self._left.append(group)


class _Group:
    """One process group and what its ranks tell each other in the store. One operation at a time."""

    def __init__(self, plan: Plan, rank: int, store: Store) -> None:
        self.plan = plan
        self.round = 0
        self.device = torch.device("cuda" if plan.backend == "nccl" else "cpu")
        self._rank = rank
        self._store = PrefixStore(plan.key, store)
        self._group: Any = None
        self._work: Any = None

    @property
    def idle(self) -> bool:
        return self._work is None or bool(self._work.is_completed())

    def join(self, host: str, end: float) -> None:
        """Make the process group once everybody is here, so that nobody waits inside of torch for the missing."""
        self.tell("arrived")
        self.await_others("arrived", end)
        with _torch_errors(f"joining a {self.plan.backend} group"):
            self._group = _process_group(self.plan, self._rank, self._store, host, _left(end))

    def start(self, tensor: Tensor, end: float) -> None:
        """Begin to broadcast a contiguous tensor from rank 0 into the others'."""
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor, options.timeout = 0, 0, timedelta(seconds=_left(end))
        with _torch_errors("broadcast"):
            self._work = self._group.broadcast([tensor], options)

    def finish(self, end: float) -> None:
        self._wait(lambda: self.idle, end, lambda: "the broadcast stands still")
        with _torch_errors("broadcast"):
            self._work.wait()

    def tell(self, what: str) -> None:
        with _torch_errors("the learner's store"):
            self._store.set(f"{self.round}/{what}/{self._rank}", "")

    def await_others(self, what: str, end: float) -> None:
        """Wait until every other rank has told ``what``."""
        keys = [f"{self.round}/{what}/{rank}" for rank, _ in self._others()]
        self._wait(lambda: self._told(keys), end, lambda: f"not {what}: {', '.join(self._without(what))}")

    def fail(self, reason: str) -> None:
        """Tell the others, unless one of them was first, or the store is gone, which they see for themselves."""
        with suppress(BroadcastError), _torch_errors("the learner's store"):
            self._store.set(f"{self.round}/ended/{self._rank}", "")
            self._store.compare_set(f"{self.round}/failed", "", reason)

    def silent(self, grace: float) -> list[str]:
        """The other ranks that do not say in ``grace`` seconds how the round ended for them."""
        end = time.monotonic() + grace
        while (silent := self._without("done", "ended")) and time.monotonic() < end:
            time.sleep(_ASK_SECONDS)
        return silent

    def close(self) -> None:
        if self.plan.backend == "nccl" and self._group is not None:
            self._group.abort()

    def _others(self) -> list[tuple[int, str]]:
        names = ("the learner", *self.plan.members)
        return [(rank, name) for rank, name in enumerate(names) if rank != self._rank]

    def _told(self, keys: list[str]) -> bool:
        with _torch_errors("the learner's store"):
            return bool(self._store.check(keys))

    def _without(self, *whats: str) -> list[str]:
        return [
            name
            for rank, name in self._others()
            if not any(self._told([f"{self.round}/{what}/{rank}"]) for what in whats)
        ]

    def _wait(self, condition: Callable[[], bool], end: float, otherwise: Callable[[], str]) -> None:
        asked, pause = time.monotonic(), _POLL_SECONDS
        while not condition():
            now = time.monotonic()
            if now > end:
                raise BroadcastError(f"missed its deadline: {otherwise()}")
            if now > asked + _ASK_SECONDS:
                asked = now
                self._raise_failure()
            time.sleep(pause)
            pause = min(1.1 * pause, _LONGEST_POLL_SECONDS)

    def _raise_failure(self) -> None:
        if self._told([f"{self.round}/failed"]):
            with _torch_errors("the learner's store"):
                reason = self._store.get(f"{self.round}/failed")
            raise BroadcastError(reason.decode())


def _process_group(plan: Plan, rank: int, store: Store, host: str, seconds: float) -> Any:
    size = 1 + len(plan.members)
    if plan.backend == "gloo":
        gloo: Any = dist.ProcessGroupGloo  # torch's type stubs know less of it than there is
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname=host)]
        options._timeout = timedelta(seconds=seconds)
        options._threads = 1
        return gloo(store, rank, size, options)
    # By default torch ends the whole process when a peer is gone; here a peer may go, and waits have deadlines.
    before = os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING")
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    try:
        return dist.ProcessGroupNCCL(store, rank, size, dist.ProcessGroupNCCL.Options())
    finally:
        del os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"]
        if before is not None:
            os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = before


def _left(end: float) -> float:
    """Seconds until ``end``, and at least a moment: to torch 0 means none at all."""
    return max(end - time.monotonic(), 0.001)


@contextmanager
def _torch_errors(what: str) -> Iterator[None]:
    """torch raises RuntimeError for whatever goes wrong between processes."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).split(". ")[0].splitlines()[0]
        raise BroadcastError(f"{what}: {text}") from error
