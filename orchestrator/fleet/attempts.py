"""What a worker knows of one of its actors: the calls that it was sent, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.turns import Turn
from common.weights.location import Location
from orchestrator.fleet.hung_processes import Killing
from orchestrator.fleet.watch import ActorWatch


@dataclass
class Loading:
    """A call of the actor that loads the update ``number``, from the object store (``load``) or by a broadcast
    (``receive``), or that compares the weights that it holds with it, after loading it perhaps; or that lets go of
    its weights (``release``), after which it holds number 0."""

    call: Any
    kind: Literal["load", "receive", "compare", "release"]
    number: int
    version: int


@dataclass
class Attempt:
    """An actor and the calls it was sent. Each attempt has its own, so nothing of the last one is left over.

    ``holds`` and ``lost`` are numbers of updates: the one that the actor holds (0 for none that is known), and one
    that cannot be had any more. ``released``: it holds no memory of a device that it shares, and ``turn`` is the
    last turn that it has ended there.
    """

    handle: Any
    watch: ActorWatch
    starting: list[Any]
    loading: Loading | None = None
    holds: int = 0
    lost: int = 0
    compare: bool = False
    compared: bool = False
    running: Any = None
    hung: str = ""
    killing: Killing | None = None
    address: str = ""
    locations: tuple[Location, ...] = ()
    released: bool = False
    turn: Turn | None = None
