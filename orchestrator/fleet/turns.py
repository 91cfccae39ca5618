"""Turns of the learner and the rollout workers on the devices that they share (``rollout.placement: shared``).

The turn goes from one to the other only when the first has given back what it held there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from common.turns import Turn
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.pool import WorkerPool


@dataclass(frozen=True)
class TurnTaken:
    """A turn that ``actor`` has ended, while the learner held the weights of ``step``."""

    step: int
    actor: str
    turn: Turn


class Turns:
    """Say whose turn it is, and pass it on. Where devices are not ``shared``, it is always everybody's.

    The learner has the first turn. ``watch`` is called while waiting, and may raise.
    """

    def __init__(
        self, shared: bool, learner: LearnerGroup, rollout: WorkerPool, watch: Callable[[], None]
    ) -> None:
        self.shared = shared
        self.holder: Literal["learner", "rollout"] = "learner"
        self._learner = learner
        self._rollout = rollout
        self._watch = watch
        self._seconds = 0.0
        self._ended: list[TurnTaken] = []
        self._notes: list[str] = []

    def to_rollout_workers(self) -> None:
        """Put the learner to sleep, and have rollout workers load their weights. Raises LearnerDiedError."""
        if self.shared and self.holder == "learner":
            began = time.monotonic()
            self._record(self._learner.sleep())
            self.holder = "rollout"
            self._notes += self._rollout.wake()
            self._seconds += time.monotonic() - began

    def to_learner(self) -> None:
        """Have rollout workers let go of their weights, and wake the learner.

        Raises LearnerDiedError or TooManyRestartsError.
        """
        if self.shared and self.holder == "rollout":
            began = time.monotonic()
            self.to_new_learner()
            self._learner.wake()
            self._seconds += time.monotonic() - began

    def to_new_learner(self) -> None:
        """Have rollout workers let go of their weights for a learner that is about to be started, and is awake."""
        if self.shared:
            notes, turns = self._rollout.sleep(self._watch)
            self._notes += notes
            self._record(turns)
            self.holder = "learner"

    def end(self) -> bool:
        """Give the learner the last turn, at once; tell whether rollout workers had to be ended for that.

        Raises LearnerDiedError.
        """
        if not self.shared:
            return False
        self._rollout.dismiss()
        self.holder = "learner"
        self._learner.wake()
        return True

    def take_seconds(self) -> float:
        """Return the seconds that passing the turn on has taken since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def take_ended(self) -> tuple[list[TurnTaken], list[str]]:
        """Return the turns that ended since the last call, and a line for each failure meanwhile."""
        found, self._ended, self._notes = (self._ended, self._notes), [], []
        return found

    def _record(self, turns: Mapping[str, Turn]) -> None:
        version = self._learner.version
        self._ended += [TurnTaken(version, actor, turn) for actor, turn in turns.items()]
