"""A process group for broadcasts, and the store through which its ranks report their progress and failures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store

from common.weights.messages import BroadcastError, Plan

#: Seconds between two questions of a waiting rank whether another has failed: gloo does not always wake it.
_ASK_SECONDS = 0.2
_POLL_SECONDS = 0.0005
_LONGEST_POLL_SECONDS = 0.005


class Place:
    """The membership of this process in a group, and the groups left in which an operation has not ended yet.

    gloo cannot cancel an operation: dropping its group would block this process until the operation's deadline.
    """

    def __init__(self) -> None:
        self._group: Group | None = None
        self._left: list[Group] = []

    @property
    def group(self) -> Group:
        if self._group is None:
            raise BroadcastError("no group")
        return self._group

    def enter(self, plan: Plan, rank: int, host: str, open_store: Callable[[], Store], end: float) -> Group:
        """Join the group of the plan unless it is the present one, and begin a round of operations in it."""
        self._left = [group for group in self._left if not group.idle]
        if self._group is None or self._group.plan != plan:
            self._leave()
            self._group = Group(plan, rank, open_store())
            try:
                self._group.join(host, end)
            except BroadcastError as error:
                self.give_up(str(error))
                raise
        self._group.round += 1
        return self._group

    def give_up(self, reason: str, grace: float = 0.0) -> list[str]:
        """Leave the group and report why; return the members that report no end within ``grace`` seconds."""
        silent = []
        if self._group is not None:
            self._group.fail(reason)
            silent = self._group.silent(grace) if grace else []
        self._leave()
        return silent

    def call_off(self, reason: str) -> None:
        """Report a failure to all members of the group, this process included."""
        group = self._group
        if group is not None:
            group.fail(reason)

    def _leave(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.close()
            if not group.idle:
                self._left.append(group)


class Group:
    """One process group and the reports of its ranks in the store. One operation at a time."""

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
        """Create the process group once all members have arrived, so that none waits inside torch."""
        self.tell("arrived")
        self.await_others("arrived", end)
        with torch_errors(f"joining a {self.plan.backend} group"):
            self._group = _process_group(self.plan, self._rank, self._store, host, _left(end))

    def start(self, tensor: Tensor, end: float) -> None:
        """Start to broadcast a contiguous tensor from rank 0 into those of the others."""
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor, options.timeout = 0, 0, timedelta(seconds=_left(end))
        with torch_errors("broadcast"):
            self._work = self._group.broadcast([tensor], options)

    def finish(self, end: float) -> None:
        self._wait(lambda: self.idle, end, lambda: "the broadcast stands still")
        with torch_errors("broadcast"):
            self._work.wait()

    def tell(self, what: str) -> None:
        with torch_errors("the learner's store"):
            self._store.set(f"{self.round}/{what}/{self._rank}", "")

    def await_others(self, what: str, end: float) -> None:
        """Wait until every other rank has reported ``what``. Raises BroadcastError at ``end``."""
        keys = [f"{self.round}/{what}/{rank}" for rank, _ in self._others()]
        self._wait(lambda: self._told(keys), end, lambda: f"not {what}: {', '.join(self._without(what))}")

    def await_sender(self, what: str, end: float) -> None:
        """Wait until rank 0 has reported ``what``. Raises BroadcastError at ``end``."""
        self._wait(lambda: self._told([f"{self.round}/{what}/0"]), end, lambda: f"the learner is not {what}")

    def fail(self, reason: str) -> None:
        """Report a failure to the others; the first report counts. They notice by themselves if the store is
        gone."""
        with suppress(BroadcastError), torch_errors("the learner's store"):
            self._store.set(f"{self.round}/ended/{self._rank}", "")
            self._store.compare_set(f"{self.round}/failed", "", reason)

    def silent(self, grace: float) -> list[str]:
        """Wait ``grace`` seconds for the other ranks to report how the round ended; name those that do not."""
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
        with torch_errors("the learner's store"):
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
            with torch_errors("the learner's store"):
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
    """Return the seconds until ``end``, at least a millisecond: torch takes 0 for no timeout at all."""
    return max(end - time.monotonic(), 0.001)


@contextmanager
def torch_errors(what: str) -> Iterator[None]:
    """Turn torch's RuntimeError, which it raises for all that fails between processes, into BroadcastError."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).split(". ")[0].splitlines()[0]
        raise BroadcastError(f"{what}: {text}") from error
