"""Placement groups: the resources of an actor are reserved first, and used once the cluster has granted them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

#: Ray is asked for the state of a group no more often than this, in seconds.
_ASK_SECONDS = 0.5


class PlacementGroups:
    """Keep a placement group of one bundle for each actor, to tell an actor that waits from one that loads.

    What is requested and not granted counts as demand, for which an autoscaler adds nodes. ``resources``: what
    each actor takes, by Ray's names; not empty.
    """

    def __init__(self, run_id: str, resources: Mapping[str, float]) -> None:
        self._run_id = run_id
        self._resources = dict(resources)
        self._groups: dict[str, PlacementGroup] = {}
        self._asked: dict[str, float] = {}

    def request(self, actor: str) -> None:
        """Request the resources of ``actor``; returns at once."""
        # The GPUs of an engine are one bundle: its tensor-parallel ranks talk in every layer, and need one node.
        self._groups[actor] = placement_group(
            [self._resources], strategy="STRICT_PACK", name=f"{self._run_id}/{actor}"
        )

    def granted(self, actor: str) -> bool:
        """Tell whether the cluster has set the resources of ``actor`` aside."""
        now = time.monotonic()
        if now - self._asked.get(actor, -_ASK_SECONDS) < _ASK_SECONDS:
            return False
        self._asked[actor] = now
        return bool(placement_group_table(self._groups[actor])["state"] == "CREATED")

    def node(self, actor: str) -> str:
        """Return the id of the node on which the resources of ``actor`` were granted."""
        return str(placement_group_table(self._groups[actor])["bundles_to_node_id"][0])

    def options(self, actor: str) -> dict[str, Any]:
        """Return the options of Ray's that place ``actor`` in its group."""
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._groups[actor], 0)}

    def remove(self, actor: str) -> None:
        """Release the resources of ``actor``; what still runs on them is killed."""
        remove_placement_group(self._groups.pop(actor))
        self._asked.pop(actor, None)
