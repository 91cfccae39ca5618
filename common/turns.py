"""Turns on devices that the learner and the rollout workers share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A turn that an actor has ended, by its own clock.

    ``began``: Unix time before it took any memory of the device for it; ``ended``: after it had given it back.
    ``bytes``: moved into the machine's memory at the end.
    """

    began: float
    ended: float
    bytes: int = 0
