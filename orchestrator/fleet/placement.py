"""Room on a cluster for actors that need more than a turn on the cores: reserved first, occupied when granted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

#: Ray is asked no more often than this, in seconds, whether a room has been granted.
_ASK_SECONDS = 0.5


class Rooms:
    """A placement group of one bundle for each actor, so that an actor that waits is told from one that loads.

    What is reserved and not granted counts as demand, for which an autoscaler adds nodes. ``resources``: what each
    actor takes, by Ray's names; not empty.
    """

    def __init__(self, run_id: str, resources: Mapping[str, float]) -> None:
        self._run_id = run_id
        self._resources = dict(resources)
        self._groups: dict[str, PlacementGroup] = {}
        self._asked: dict[str, float] = {}

    def reserve(self, actor: str) -> None:
        """Ask for the room of ``actor``; returns at once."""
        self._groups[actor] = placement_group([self._resources], name=f"{self._run_id}/{actor}")

    def granted(self, actor: str) -> bool:
        """Whether the cluster has set the room aside."""
        now = time.monotonic()
        if now - self._asked.get(actor, -_ASK_SECONDS) < _ASK_SECONDS:
            return False
        self._asked[actor] = now
        return bool(placement_group_table(self._groups[actor])["state"] == "CREATED")

    def node(self, actor: str) -> str:
        """The id of the node that the room of ``actor`` is on, once it has been granted."""
        return str(placement_group_table(self._groups[actor])["bundles_to_node_id"][0])

    def options(self, actor: str) -> dict[str, Any]:
        """What places ``actor`` in its room."""
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._groups[actor], 0)}

    def give_back(self, actor: str) -> None:
        """The room is free for others; what still is in it is killed."""
        remove_placement_group(self._groups.pop(actor))
        self._asked.pop(actor, None)
