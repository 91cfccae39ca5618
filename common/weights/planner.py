"""Which way weights go to the rollout workers, and in which group a broadcast takes place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.publisher import Publication

Transport = Literal["auto", "object_store", "collective"]


class WeightsSource(Protocol):
    """The learner, as the pool of workers sees it that takes its weights."""

    @property
    def name(self) -> str:
        """Of the actor that sends, another one after each restart."""

    @property
    def location(self) -> Location:
        """Of that actor."""

    def meeting_point(self) -> tuple[str, int]:
        """Where it meets the members of a broadcast."""

    def begin_publish(self, plan: Plan | None) -> None:
        """Begin to publish the current weights, by broadcast too if there is a plan."""

    def end_publish(self, casualty: Callable[[], str | None]) -> Publication:
        """What became of it; once ``casualty`` tells of a member that is lost, a broadcast is called off."""


class BroadcastPlanner:
    """Decides on every update. With the same members, and until one fails, plans are equal and the group stays."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._failures = 0

    def plan(self, source: WeightsSource, members: Mapping[str, Location]) -> Plan | None:
        """The group in which the members (by actor name) get the weights; None where the object store does it."""
        if not members or self._transport == "object_store":
            return None
        here = source.location
        if self._transport == "auto" and all(there.node == here.node for there in members.values()):
            return None
        gpus = [here.gpu, *(there.gpu for there in members.values())]
        # NCCL wants a GPU for each.
        apart = all(gpus) and len(set(gpus)) == len(gpus)
        return Plan(
            key="/".join([source.name, *members, str(self._failures)]),
            address=source.meeting_point(),
            members=tuple(members),
            backend="nccl" if apart else "gloo",
        )

    def failed(self) -> None:
        """The last plan's group is no good any more."""
        self._failures += 1
