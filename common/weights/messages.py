"""What the learner, the rollout workers and the driver tell each other of weights. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.weights.layout import Manifest

#: Seconds after a failure in which a rank that is alive reports that it has ended the broadcast.
GRACE_SECONDS = 5.0


class BroadcastError(RuntimeError):
    """A broadcast did not reach everybody; the message names the silent members, where they are known."""


class CalledOffError(BroadcastError):
    """A broadcast was called off before this member had received any weights: it holds those that it held."""


class WeightsGoneError(RuntimeError):
    """An update was written over, or its sender has ended, before the first of it was read."""


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

    def rank(self, member: str) -> int:
        """Return the rank of a member, by its name."""
        return 1 + self.members.index(member)


@dataclass(frozen=True)
class SharedBuckets:
    """Where the buckets of an update are: a segment that process ``process`` of machine ``node`` has open.

    ``key`` tells segments apart and ``serial`` the updates that were in one. ``owner`` is the sending actor, or
    None; it puts them into the object store for a receiver on another machine (``stored_weights``). ``in_place``:
    they are laid out for receivers that compute with them there.
    """

    node: str
    process: int
    descriptor: int
    key: int
    serial: int
    owner: Any = None
    in_place: bool = False

    @property
    def path(self) -> str:
        return f"/proc/{self.process}/fd/{self.descriptor}"


@dataclass(frozen=True)
class WeightsUpdate:
    """A manifest and where its buckets are: references of the object store, or memory that is shared
    (:class:`SharedBuckets`).

    ``published``: Unix time at which the learner began to publish them.
    """

    manifest: Manifest
    buckets: Any
    published: float = 0.0


@dataclass(frozen=True)
class Publication:
    """A published update. ``failure`` is why its broadcast did not reach everybody; None if it did, or without
    one."""

    update: WeightsUpdate
    failure: str | None = None


@dataclass(frozen=True)
class Offer:
    """An update that is about to be published, where receivers will find it; None and a reason where there is no
    shared memory for it."""

    update: WeightsUpdate | None
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """What a comparison with published weights found: ``differing`` names the tensors that are not the same bits.

    ``reloaded``: they had been overwritten and loaded again. ``tensors`` and ``bytes`` are all that were compared.
    """

    version: int
    reloaded: bool
    tensors: int
    bytes: int
    seconds: float
    differing: tuple[str, ...]
