"""Whether workers died by themselves or with their nodes: Ray tells of the first before it tells of the second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.fleet.health import Cause, WorkerHealth

#: Ray gives a node up after 5 health checks without an answer, begun every 3 s and given 10 s each
#: (``RAY_health_check_*``, its defaults); the rest is for a control store that is busy.
OPEN_SECONDS = 90.0
#: Ray is asked no more often than this, in seconds, for its nodes.
_ASK_SECONDS = 0.5


@dataclass(frozen=True)
class _OpenDeath:
    health: WorkerHealth
    node: str
    reason: str
    until: float


class Deaths:
    """Those of a pool. One on another machine is open until Ray has given up its node, or has had the time to.

    ``lost_nodes``: the ids of the nodes that have left the cluster. ``own_node``: of this process, which lives.
    """

    def __init__(self, own_node: str, lost_nodes: Callable[[], set[str]], clock: Callable[[], float]) -> None:
        self._own_node = own_node
        self._lost_nodes = lost_nodes
        self._clock = clock
        self._open: list[_OpenDeath] = []
        self._asked = 0.0

    def record(self, health: WorkerHealth, node: str, reason: str) -> tuple[float, str]:
        """Take down a death on ``node`` (empty where that is not known).

        Returns the seconds to wait before the restart, and a line that tells of it. Raises TooManyRestartsError.
        """
        if node in ("", self._own_node):
            wait = health.died(reason)
            return wait, f"{health.name} died ({reason}); restart {health.restarts}"
        if node in self._lost_nodes():
            return health.died(reason, Cause.NODE), _went(health)
        self._open.append(_OpenDeath(health, node, reason, self._clock() + OPEN_SECONDS))
        return health.died(reason, Cause.OPEN), f"{health.name} died ({reason}); a restart, unless with its node"

    def settle(self) -> list[str]:
        """Close the open deaths whose cause is known; a line for each node's. Raises TooManyRestartsError."""
        now = self._clock()
        if not self._open or now - self._asked < _ASK_SECONDS:
            return []
        self._asked = now
        lost = self._lost_nodes()
        notes = []
        deaths, self._open = self._open, []
        for death in deaths:
            if death.node in lost:
                death.health.settled(death.reason, Cause.NODE)
                notes.append(_went(death.health))
            elif now >= death.until:
                death.health.settled(death.reason, Cause.ITSELF)
            else:
                self._open.append(death)
        return notes


def own_node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def node_at(address: str) -> str:
    """The id of the node that has this endpoint; empty where no node has."""
    host = address.rpartition(":")[0]
    return next((n["NodeID"] for n in _nodes() if n["Alive"] and n["NodeManagerAddress"] == host), "")


def lost_nodes() -> set[str]:
    """The ids of the nodes that have left the cluster."""
    return {node["NodeID"] for node in _nodes() if not node["Alive"]}


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _went(health: WorkerHealth) -> str:
    return f"{health.name} went with its node, which is no restart; it comes back when the cluster has room"
