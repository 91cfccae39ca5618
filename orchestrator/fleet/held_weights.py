"""The weights that one actor of a worker holds: loaded, received, compared with those published, and let go of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import ObjectLostError

from common.turns import Turn
from common.weights.fence import FenceTimeoutError
from common.weights.messages import BroadcastError, CalledOffError, Plan, Verification, WeightsGoneError
from orchestrator.fleet.calls import outcome, raised
from orchestrator.fleet.published import NumberedUpdate
from orchestrator.fleet.weights_check import WeightsCheck

#: The learner, whose process holds what was published, has died, or has written over it.
_LOST = (ObjectLostError, WeightsGoneError, BroadcastError)


@dataclass(frozen=True)
class _Call:
    """A call of the actor that loads the update ``number``, from the object store (``load``) or by a broadcast
    (``receive``), or that compares the weights that it holds with it, after loading it perhaps; or that lets go of
    its weights (``release``), after which it holds number 0."""

    answer: Any
    kind: Literal["load", "receive", "compare", "release"]
    number: int
    version: int


class HeldWeights:
    """Follow what an actor holds, by one call at a time. Nothing here waits.

    ``name``: of the worker. With a ``check``, the weights that the actor begins with, and those of its first
    broadcast, are compared with what was published. ``released``: it holds no memory of a device that it shares.
    """

    def __init__(self, handle: Any, name: str, check: WeightsCheck | None, released: bool) -> None:
        self._handle = handle
        self._name = name
        self._check = check
        self._released = released
        self._call: _Call | None = None
        self._holds = 0  # number of the update; 0 for none that is known
        self._lost = 0  # number of an update that cannot be had any more
        self._compare = False
        self._compared = False
        self._turn: Turn | None = None

    @property
    def loading(self) -> bool:
        """Whether the actor is loading weights, or comparing them."""
        return self._call is not None

    @property
    def comparing(self) -> bool:
        """Whether the actor compares weights with those published, or is about to."""
        return self._compare or (self._call is not None and self._call.kind == "compare")

    @property
    def rests(self) -> bool:
        """Whether the actor holds no memory of a device that it shares."""
        return self._released and self._call is None

    def take_turn(self) -> Turn | None:
        """Return the turn that the actor has ended, if it is one that was not asked for yet."""
        turn, self._turn = self._turn, None
        return turn

    def holds(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number."""
        return self._holds == number

    def gets(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number, or is loading it."""
        return self.holds(number) or (self._call is not None and self._call.number == number)

    def receive(self, plan: Plan, rank: int, number: int, version: int) -> None:
        """Have the actor take part in the broadcast of an update, from ``rank`` on."""
        self._call = _Call(self._handle.receive_weights.remote(plan, rank, version), "receive", number, version)
        if self._check is not None and not self._compared:
            self._compare = True

    def failure(self) -> str | None:
        """Return why the call under way has failed; None where there is none, or it goes on."""
        return outcome(self._call.answer, 0.0, pending=None) if self._call else None

    def follow(self, target: NumberedUpdate | None, first: bool) -> str | None:
        """Have the actor load the target, once it is done with what it loads; return why it cannot.

        ``first``: it has not worked yet.
        """
        if self._call is not None:
            call, failure = self._call, outcome(self._call.answer, 0.0, pending="")
            if failure == "":
                return None
            self._call = None
            if failure is None:
                self._holds = call.number
                self._record(call)
            elif not self._is_excused(call):
                what = "letting go of its weights" if call.kind == "release" else f"weights {call.version}"
                return f"{what}: {failure}"
        if target is None or target.number == self._lost:
            return None
        if target.number != self._holds:
            self._compare = False  # what came by a broadcast is about to be overwritten
            self._load(target, compare=self._check is not None and first, reload=True)
        elif self._compare:
            self._compare, self._compared = False, True
            self._load(target, compare=True, reload=False)
        return None

    def release(self) -> None:
        """Have the actor let go of its weights, once it is done with what it loads, unless it has none."""
        if self._call is None and not self._released:
            self._compare = False
            self._call = _Call(self._handle.release_weights.remote(), "release", 0, -1)

    def _load(self, target: NumberedUpdate, compare: bool, reload: bool) -> None:
        """Have the actor load an update from where it was put, or with ``compare`` compare it, loaded or not."""
        self._released = False
        if compare:
            answer = self._handle.verify_weights.remote(target.update, reload=reload)
        else:
            answer = self._handle.load_weights.remote(target.update)
        self._call = _Call(answer, "compare" if compare else "load", target.number, target.version)

    def _is_excused(self, call: _Call) -> bool:
        """Tell whether a load failed for what was not the worker's fault, which lives and can take the next."""
        error = raised(call.answer)
        if call.kind == "release":
            return False
        if call.kind == "receive":
            self._compare = False
            if not isinstance(error, CalledOffError):
                self._holds = 0
            return error is not None
        if isinstance(error, BroadcastError):  # some have been overwritten
            self._holds = 0
        if isinstance(error, _LOST):
            self._lost = call.number
        return isinstance(error, (*_LOST, FenceTimeoutError))

    def _record(self, call: _Call) -> None:
        """Record what a call that has succeeded found, if it was to compare weights, or to end a turn."""
        if call.kind == "release":
            self._released, self._turn = True, ray.get(call.answer, timeout=1.0)
        elif self._check is not None:
            found = ray.get(call.answer, timeout=1.0)
            if isinstance(found, Verification):
                self._check.record(self._name, found)
