"""Decides by which way weights go to the rollout workers, and in which group they are broadcast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.publisher import Publication

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

    def begin_publish(self, plan: Plan | None) -> None:
        """Start publishing the current weights to the object store and, given a plan, by broadcast."""

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
        """Plan a broadcast to the members (by name, in the order of ranks); None where the object store serves."""
        if not members or self._transport == "object_store":
            return None
        here = source.location
        if self._transport == "auto" and all(there.node == here.node for there in members.values()):
            return None
        gpus = [here.gpu, *(there.gpu for there in members.values())]
        # NCCL needs a GPU of its own for each.
        apart = all(gpus) and len(set(gpus)) == len(gpus)
        return Plan(
            key="/".join([source.name, *members, str(self._failures)]),
            address=source.meeting_point(),
            members=tuple(members),
            backend="nccl" if apart else "gloo",
        )

    def failed(self) -> None:
        """Record that the group of the last plan cannot be used again."""
        self._failures += 1
