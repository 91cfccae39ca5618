"""What all Ray actors of a run have in common: each answers for its heartbeat, however busy it is."""

from __future__ import annotations

from typing import Any

import ray

from common.heartbeat import Beat, Heartbeat

#: The Ray concurrency group in which actors answer ``heartbeat()``: a thread of its own.
_HEARTBEAT = "heartbeat"
#: The environment variable that tells which actor a process is, as ``RUN/NAME``, before it can answer.
ACTOR_VARIABLE = "COUPLET_ACTOR"


class WatchedActor:
    """Base of an actor that the driver watches; what the actor does, it tells ``heart``.

    ``limit``: seconds that an activity may take without progress, unless it is given another.
    """

    def __init__(self, limit: float) -> None:
        self.heart = Heartbeat(limit, node=own_node())

    @ray.method(concurrency_group=_HEARTBEAT)
    def heartbeat(self) -> Beat:
        """Return what this actor does, and whether it gets on with it."""
        return self.heart.beat()


def own_node() -> str:
    """Return Ray's id of the node that this process runs on; empty outside of Ray."""
    if not ray.is_initialized():
        return ""
    return str(ray.get_runtime_context().get_node_id())


def as_remote(actor: type) -> Any:
    """Make a remote class of an actor, which answers ``heartbeat()`` while its other methods are at work."""
    return ray.remote(concurrency_groups={_HEARTBEAT: 1})(actor)  # type: ignore[call-overload]
