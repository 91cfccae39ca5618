"""How the actors of a run are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.actors import ACTOR_VARIABLE, as_remote
from orchestrator.fleet.actor_environment import ACTOR_ENVIRONMENT
from orchestrator.fleet.placement import Places

#: Makes an actor: (rank or worker, name) -> handle.
Spawner = Callable[[Any, str], Any]


def spawner(
    actor: type,
    run_id: str,
    arguments: tuple[Any, ...],
    takes: Mapping[str, float],
    placement: Places | None = None,
) -> Spawner:
    """Return what makes actors of a class with these resources, in their places if there are any.

    An actor is constructed with ``arguments`` and which one it is.
    """
    remote = as_remote(actor)
    custom = {name: amount for name, amount in takes.items() if name != "GPU"}

    def spawn(identity: Any, name: str) -> Any:
        return remote.options(
            name=f"{run_id}/{name}",
            num_cpus=0,
            num_gpus=takes.get("GPU", 0.0),
            resources=custom,
            max_concurrency=4,
            max_restarts=0,
            runtime_env={"env_vars": ACTOR_ENVIRONMENT | {ACTOR_VARIABLE: f"{run_id}/{name}"}},
            **(placement.options(name) if placement else {}),
        ).remote(*arguments, identity)

    return spawn
