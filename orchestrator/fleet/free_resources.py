"""The wait for what a run starts with, on a cluster whose nodes may be on their way, and that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group_table

from common.config import RunSettings
from orchestrator.fleet.cluster import ClusterError, lacking

#: Ray counts what an actor that ended has held as free within this time.
_RELEASED_SECONDS = 3.0
_SHOWN = 4
_ANSWER_SECONDS = 5
_LISTED = 1000


def await_resources(
    config: RunSettings, need: Mapping[str, float], note: Callable[[str], None], check_stop: Callable[[], None]
) -> None:
    """Wait until the cluster has free what the run starts with.

    The nodes of one that was joined may be on their way, and others' jobs about to end. ``need``: amounts by Ray's
    names. Raises ClusterError where it has not within ``deadlines.start_seconds``, or at once where it never will.
    """
    deadline = config.deadlines.start_seconds
    began = time.monotonic()
    told = ""
    while problem := _shortage(need):
        if config.ray.address == "local" and not problem.held:  # to which no nodes come
            raise ClusterError(f"{problem.what}; {problem.remedy}")
        seconds = time.monotonic() - began
        if seconds > deadline:
            raise ClusterError(
                f"{problem.told()} after {deadline:.0f} s (deadlines.start_seconds); {problem.remedy}"
            )
        if told != problem.what and seconds >= problem.grace_seconds:
            note(f"{problem.told()}; waiting up to {deadline:.0f} s for it")
            told = problem.what
        check_stop()
        time.sleep(0.5)


@dataclass(frozen=True)
class _Shortage:
    """Say what a cluster lacks; ``held`` are resources that others hold, and that may be released at once."""

    what: str
    remedy: str
    held: tuple[str, ...] = ()

    @property
    def grace_seconds(self) -> float:
        return _RELEASED_SECONDS if self.held else 0.0

    def told(self) -> str:
        """Return the whole of it; to ask Ray for those who hold resources takes a second or two."""
        return f"{self.what}, held by {holders(self.held)}" if self.held else self.what


def _shortage(need: Mapping[str, float]) -> _Shortage | None:
    """Return what the cluster lacks; None where it has all, and free."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if lack := lacking(need, total):
        return _Shortage(f"the run needs more than the cluster has: {lack}", "add nodes, or ask for less")
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    held = tuple(name for name, amount in need.items() if free.get(name, 0.0) < amount)
    if not held:
        return None
    lack = ", ".join(f"{need[name]:g} {name} ({free.get(name, 0.0):g} of {total[name]:g} free)" for name in held)
    remedy = "stop what holds them (`ray job list`, `ray job stop`), add nodes, or ask for less"
    return _Shortage(f"the run needs more than is free: {lack}", remedy, held)


def holders(resources: Collection[str]) -> str:
    """Name the placement groups and actors that hold some of these resources, with the jobs that they are of.

    Ray tells of no tasks in time, and of actors only where its dashboard answers.
    """
    found = list(dict.fromkeys((*_groups(resources), *_actors(resources))))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more if found else "whom Ray does not tell; see `ray status -v`"


def _groups(resources: Collection[str]) -> Iterator[str]:
    table: Any = placement_group_table()
    for group in table.values():
        if group["state"] == "CREATED" and _holds(group["bundles"].values(), resources):
            yield group["name"] or f"placement group {group['placement_group_id'][:8]}"


def _actors(resources: Collection[str]) -> Iterator[str]:
    from ray.util.state import list_actors  # takes a second, and is for a message alone
    from ray.util.state.exception import RayStateApiException

    try:
        living: Any = list_actors(
            filters=[("state", "=", "ALIVE")],
            detail=True,
            limit=_LISTED,
            timeout=_ANSWER_SECONDS,
            raise_on_missing_output=False,
        )
    except RayStateApiException:
        return
    for actor in living:
        if _holds([actor.required_resources or {}], resources):
            name = actor.name or f"an actor {actor.class_name}"
            yield f"{name} of job {actor.job_id}" if "/" not in name else name


def _holds(bundles: Collection[Mapping[str, float]], resources: Collection[str]) -> bool:
    return any(bundle.get(name) for bundle in bundles for name in resources)
