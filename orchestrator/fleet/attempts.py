"""What a worker knows of one of its actors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.weights.location import Location
from orchestrator.fleet.held_weights import HeldWeights
from orchestrator.fleet.hung_processes import Killing
from orchestrator.fleet.watch import ActorWatch


@dataclass
class Attempt:
    """An actor and the calls it was sent. Each attempt has its own, so nothing of the last one is left over."""

    handle: Any
    watch: ActorWatch
    weights: HeldWeights
    starting: list[Any]
    running: Any = None
    hung: str = ""
    killing: Killing | None = None
    address: str = ""
    locations: tuple[Location, ...] = ()
