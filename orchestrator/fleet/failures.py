"""Failure attribution: whether a worker failed by itself or with its node. Ray tells of the worker first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray

from orchestrator.fleet.health import Cause, WorkerHealth

#: Ray is asked for its nodes no more often than this, in seconds.
_ASK_SECONDS = 0.5


class FailureAttribution:
    """Attribute the failures of workers to themselves or to their nodes.

    ``own_node`` is the id of this process's node, which is up; ``lost_nodes`` returns the ids of the nodes that
    have left the cluster.
    """

    def __init__(self, own_node: str, lost_nodes: Callable[[], set[str]], clock: Callable[[], float]) -> None:
        self._own_node = own_node
        self._lost_nodes = lost_nodes
        self._clock = clock
        self._asked = 0.0

    def cause(self, node: str) -> Cause:
        """Return the cause of a failure on ``node``, as far as it is known when it happens."""
        if node in ("", self._own_node):
            return Cause.WORKER
        return Cause.NODE if node in self._lost_nodes() else Cause.UNKNOWN

    def resolve(self, workers: Sequence[WorkerHealth]) -> list[str]:
        """Decide on failures whose cause has become known; return a line for each node's. Cheap to call often.

        Raises TooManyRestartsError.
        """
        undecided = [worker for worker in workers if worker.unattributed]
        now = self._clock()
        if not undecided or now - self._asked < _ASK_SECONDS:
            return []
        self._asked = now
        lost = self._lost_nodes()
        return [note for worker in undecided for note in worker.attribute(lost)]


def node_at(address: str) -> str:
    """Return the id of the node that has this endpoint; empty where no node has."""
    host = address.rpartition(":")[0]
    return next((n["NodeID"] for n in _nodes() if n["Alive"] and n["NodeManagerAddress"] == host), "")


def lost_nodes() -> set[str]:
    """Return the ids of the nodes that have left the cluster."""
    return {node["NodeID"] for node in _nodes() if not node["Alive"]}


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
