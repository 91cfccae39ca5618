"""Placement groups: the resources of an actor are reserved first, and used once the cluster has granted them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from common.config import ConfigError

#: Ray is asked for the state of a group no more often than this, in seconds.
_ASK_SECONDS = 0.5


class Places(Protocol):
    """Where actors are to run."""

    def options(self, actor: str) -> dict[str, Any]:
        """Return the options of Ray's that place ``actor``."""


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


class SharedDevices:
    """One placement group with a bundle for each rank, in which the rank and its rollout workers run.

    Actors in one bundle that take a part of a GPU each are on the same GPU. Rank i shares the bundle i, and worker
    i the bundle i modulo the ranks. ``resources``: what a bundle has, by Ray's names; not empty.
    """

    def __init__(self, run_id: str, ranks: int, resources: Mapping[str, float]) -> None:
        self._ranks = ranks
        self._group = placement_group([dict(resources)] * ranks, strategy="PACK", name=f"{run_id}/shared")

    def wait(self, seconds: float, check_stop: Callable[[], None]) -> None:
        """Wait for the resources. Raises ConfigError where the cluster has not granted them in time."""
        end = time.monotonic() + seconds
        while not self._group.wait(_ASK_SECONDS):
            check_stop()
            if time.monotonic() > end:
                raise ConfigError(
                    f"learner.ranks: {self._ranks} devices to share were not granted within {seconds:.0f} s "
                    "(deadlines.start_seconds); add nodes, or lower it"
                )

    def options(self, actor: str) -> dict[str, Any]:
        """Return the options of Ray's that place ``actor``, whose name is ROLE-NUMBER and what may follow."""
        bundle = int(actor.split("-")[1]) % self._ranks
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._group, bundle)}

    def remove(self) -> None:
        """Release the resources; what still runs on them is killed."""
        remove_placement_group(self._group)


def shared_part(gpus: float, users: int) -> float:
    """Return what each of so many users takes of the same GPUs; Ray counts in ten-thousandths."""
    return int(gpus * 10_000) // users / 10_000
