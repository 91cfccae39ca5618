"""Decides by which way weights go to the rollout workers, and in which group they are broadcast."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

from common.weights.location import Location
from common.weights.messages import Offer, Plan, Publication

Transport = Literal["auto", "object_store", "collective"]


class WeightsSource(Protocol):
    """The learner, as the pool of rollout workers sees it."""

    @property
    def name(self) -> str:
        """The name of the actor that sends; a new one after each restart."""

    @property
    def location(self) -> Location:
        """Where that actor runs."""

    @property
    def version(self) -> int:
        """The version of its weights."""

    def meeting_point(self) -> tuple[str, int]:
        """Return host and port of the store in which the members of a broadcast meet."""

    def offer(self, plan: Plan | None, keep: Collection[int]) -> Offer:
        """Take shared memory for the current weights, which are published next, under the same plan.

        ``keep`` are serials of shared updates that workers still need.
        """

    def begin_publish(self, plan: Plan | None) -> None:
        """Start publishing the current weights to where they were offered, else to the object store, and, given a
        plan, by broadcast."""

    def end_publish(self, failed_member: Callable[[], str | None], /) -> Publication:
        """Wait for the publication; call its broadcast off once ``failed_member`` says that a member was lost."""


def members_of(actor: str, locations: Sequence[Location]) -> dict[str, Location]:
    """Name the processes of an actor that take part in broadcasts: it alone, or its tensor-parallel ranks."""
    if len(locations) == 1:
        return {actor: locations[0]}
    return {f"{actor}/tp{rank}": location for rank, location in enumerate(locations)}


class BroadcastPlanner:
    """Plans every update. Plans are equal, so that their group is kept, until the members change or one fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._failures = 0

    def plan(self, source: WeightsSource, members: Mapping[str, Location]) -> Plan | None:
        """Plan a broadcast to the members (by name, in the order of ranks).

        None where they read shared memory or the object store instead: on one machine, unless each has a GPU of
        its own.
        """
        if not members or self._transport == "object_store":
            return None
        here = source.location
        gpus = [here.gpu, *(there.gpu for there in members.values())]
        # NCCL needs a GPU of its own for each.
        apart = all(gpus) and len(set(gpus)) == len(gpus)
        together = all(there.node == here.node for there in members.values())
        if self._transport == "auto" and together and not apart:
            return None
        return Plan(
            key="/".join([source.name, *members, str(self._failures)]),
            address=source.meeting_point(),
            members=tuple(members),
            backend="nccl" if apart else "gloo",
        )

    @property
    def shares(self) -> bool:
        """Whether updates are put into shared memory, rather than into the object store."""
        return self._transport != "object_store"

    def failed(self) -> None:
        """Record that the group of the last plan cannot be used again."""
        self._failures += 1
