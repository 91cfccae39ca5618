"""One worker: its actor is placed, started, given weights and watched, attempt after attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import ObjectLostError

from common.config import DeadlinesConfig
from common.turns import Turn
from common.weights.broadcast_group import BroadcastError, CalledOffError, Plan
from common.weights.comparison import Verification
from common.weights.fence import FenceTimeoutError
from common.weights.location import Location
from common.weights.planner import members_of
from common.weights.segments import WeightsGoneError
from orchestrator.fleet.attempts import Attempt, Loading
from orchestrator.fleet.calls import outcome, raised
from orchestrator.fleet.failures import node_at
from orchestrator.fleet.health import Health, WorkerHealth
from orchestrator.fleet.hung_processes import HungProcesses
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.published import NumberedUpdate
from orchestrator.fleet.watch import ActorWatch
from orchestrator.fleet.weights_check import WeightsCheck

#: The learner, whose process holds what was published, has died, or has written over it.
_LOST = (ObjectLostError, WeightsGoneError, BroadcastError)
#: Makes the actor of a worker: (consumer name, actor name) -> handle.
Spawn = Callable[[str, str], Any]


class Worker:
    """Run one worker. Its state is in ``health``; this class makes Ray follow it. :meth:`poll` never waits.

    With a ``check``, the weights that an attempt begins with, and those of its first broadcast, are compared with
    what was published. A worker with ``takes_turns`` starts without memory on its device.
    """

    def __init__(
        self,
        health: WorkerHealth,
        spawn: Spawn,
        deadlines: DeadlinesConfig,
        hung: HungProcesses,
        placement: PlacementGroups | None = None,
        check: WeightsCheck | None = None,
        takes_turns: bool = False,
    ) -> None:
        self.health = health
        self._spawn = spawn
        self._deadlines = deadlines
        self._hung = hung
        self._placement = placement
        self._check_weights = check
        self._takes_turns = takes_turns
        self._attempt: Attempt | None = None
        self._last_notes: list[str] = []

    @property
    def address(self) -> str:
        """Metrics endpoint of the actor; empty until it has started."""
        return self._attempt.address if self._attempt else ""

    @property
    def members(self) -> dict[str, Location]:
        """The actor's members of a broadcast and where they are, by name; none until it has started."""
        return members_of(self.health.actor, self._attempt.locations) if self._attempt else {}

    @property
    def healthy(self) -> bool:
        """Whether the actor works, with whichever weights."""
        return self.health.state is Health.HEALTHY

    @property
    def loading(self) -> bool:
        """Whether the actor is loading weights, or comparing them."""
        return self._attempt is not None and self._attempt.loading is not None

    @property
    def comparing(self) -> bool:
        """Whether the actor compares weights with those published, or is about to."""
        attempt = self._attempt
        if attempt is None:
            return False
        return attempt.compare or (attempt.loading is not None and attempt.loading.kind == "compare")

    @property
    def measures(self) -> Mapping[str, float]:
        """What the actor has measured last, by name."""
        last = self._attempt.watch.last if self._attempt else None
        return last.measures if last else {}

    @property
    def rests(self) -> bool:
        """Whether no actor of this worker's holds memory of a device that it shares."""
        if self.health.state in (Health.DEAD, Health.WAITING):
            return True
        attempt = self._attempt
        return (
            self.health.state is not Health.STARTING
            and attempt is not None
            and attempt.released
            and attempt.loading is None
        )

    def take_turn(self) -> Turn | None:
        """Return the turn that the actor has ended, if it is one that was not asked for yet."""
        attempt = self._attempt
        if attempt is None:
            return None
        turn, attempt.turn = attempt.turn, None
        return turn

    def holds(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number."""
        return self._attempt is not None and self._attempt.holds == number

    def gets(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number, or is loading it."""
        loading = self._attempt.loading if self._attempt is not None else None
        return self.holds(number) or (loading is not None and loading.number == number)

    def start(self) -> None:
        """Begin the next attempt: request its resources, or spawn its actor where it needs none."""
        self.health.begin_attempt()
        if self._placement is None:
            self._spawn_actor()
        else:
            self._placement.request(self.health.actor)

    def poll(self, target: NumberedUpdate | None, awake: bool = True) -> str | None:
        """Move the attempt on; return why it failed, None if it did not.

        ``target``: the weights that the worker is to hold, None while there are none. A worker without any loads
        them first; one that works takes them when it can, and goes on with those it has meanwhile. A worker that
        is not to be ``awake`` lets go of the weights that it holds, and is not started again before it is.
        """
        target = target if awake else None
        match self.health.state:
            case Health.DEAD:
                if self.health.restart_due and awake:
                    self.start()
                return None
            case Health.WAITING:
                self._await_placement()
                return None
            case Health.STARTING:
                failure = self._await_start()
            case Health.STALE:
                failure = self._catch_up(target)
            case Health.HEALTHY:
                failure = outcome(self._live.running, 0.0, pending=None) or self._follow(target)
        if failure is None and not awake:
            self._release()
        return self.late() or (failure if self._live.killing is None else None)

    def receive(self, plan: Plan, number: int, version: int) -> None:
        """Have the actor take part in the broadcast of an update, in which it has members."""
        first = next(iter(self.members))
        call = self._live.handle.receive_weights.remote(plan, plan.rank(first), version)
        self._live.loading = Loading(call, "receive", number, version)
        if self._check_weights is not None and not self._live.compared:
            self._live.compare = True

    def transfer_failure(self) -> str | None:
        """Return why the worker cannot go on with the transfer under way; None where it can."""
        loading = self._live.loading
        failure = outcome(loading.call, 0.0, pending=None) if loading else None
        if failure is not None:
            return failure
        reason = self._live.watch.poll()
        return f"hangs: {reason}" if reason else None

    def late(self) -> str | None:
        """Return why the actor hung, once it has been looked at and killed; None while it has not."""
        attempt = self._live
        reason = attempt.watch.poll()
        if attempt.killing is None and reason is not None:
            self._hangs(reason)
        found = attempt.killing.poll() if attempt.killing is not None else None
        return None if found is None else f"hung: {attempt.hung}; {found}"

    def notes(self) -> list[str]:
        """Return the lines that the actor has left for the user since the last call."""
        left, self._last_notes = self._last_notes, []
        return left + (self._attempt.watch.notes() if self._attempt else [])

    def dismiss(self) -> None:
        """Kill the actor, which is of no more use, and begin no other: nothing else of the attempt is settled."""
        if self._attempt is not None:
            ray.kill(self._attempt.handle)
            self._hung.end(self._attempt.watch.last)

    def stop(self) -> None:
        """Ask a healthy worker's loop to end after its current message."""
        if self.healthy:
            self._live.handle.stop.remote()

    def await_end(self, seconds: float) -> None:
        """Wait for the end of a healthy worker's loop, at most ``seconds``."""
        if self.healthy:
            ray.wait([self._live.running], timeout=seconds)

    def kill(self) -> None:
        """Kill the actor and release its resources."""
        self._last_notes += self._live.watch.notes()
        ray.kill(self._live.handle)
        self._hung.end(self._live.watch.last)
        self._attempt = None
        if self._placement is not None:
            self._placement.remove(self.health.actor)

    @property
    def _live(self) -> Attempt:
        if self._attempt is None:
            raise RuntimeError(f"{self.health.name} has no actor")
        return self._attempt

    def _spawn_actor(self) -> None:
        handle = self._spawn(self.health.name, self.health.actor)
        starting = [handle.metrics_address.remote()]
        if self.health.needs_weights:
            starting.append(handle.locations.remote())
        watch = ActorWatch(handle, self._deadlines.heartbeat_seconds)
        self._attempt = Attempt(handle, watch, starting, released=self._takes_turns)

    def _await_placement(self) -> None:
        placement, actor = self._placement, self.health.actor
        if placement is not None and self.health.requested and placement.granted(actor):
            self.health.placed(placement.node(actor))
            self._spawn_actor()

    def _await_start(self) -> str | None:
        attempt = self._live
        ready, pending = ray.wait(attempt.starting, num_returns=len(attempt.starting), timeout=0)
        failure = next(filter(None, (outcome(call, 0.0) for call in ready)), None)
        if failure is None and pending:
            return self._too_long(self._deadlines.start_seconds, "start")
        if failure is None:
            attempt.address, *locations = ray.get(attempt.starting, timeout=1.0)
            attempt.locations = locations[0] if locations else ()
            self.health.started(node_at(attempt.address))
            if self.healthy:
                attempt.running = attempt.handle.run.remote()
        return failure

    def _catch_up(self, target: NumberedUpdate | None) -> str | None:
        """Load the target into a worker that has no weights, which works from then on."""
        attempt = self._live
        begins = attempt.loading is None
        failure = self._follow(target)
        if begins and attempt.loading is not None:
            self.health.loading_began()
        if failure is None and target is not None and attempt.holds == target.number:
            self.health.weights_loaded()
            attempt.running = attempt.handle.run.remote()
        if failure is None and attempt.loading is not None:
            return self._too_long(self._deadlines.weights_seconds, "weights")
        return failure

    def _follow(self, target: NumberedUpdate | None) -> str | None:
        """Have the actor load the target, once it is done with what it loads; return why it cannot."""
        attempt, loading = self._live, self._live.loading
        if loading is not None:
            failure = outcome(loading.call, 0.0, pending="")
            if failure == "":
                return None
            attempt.loading = None
            if failure is None:
                attempt.holds = loading.number
                self._record_answer(loading)
            elif not self._is_excused(loading):
                what = "letting go of its weights" if loading.kind == "release" else f"weights {loading.version}"
                return f"{what}: {failure}"
        if target is None or target.number == attempt.lost:
            return None
        if target.number != attempt.holds:
            attempt.compare = False  # what came by a broadcast is about to be overwritten
            compare = self._check_weights is not None and self.health.state is Health.STALE
            self._load(target, compare, reload=True)
        elif attempt.compare:
            attempt.compare, attempt.compared = False, True
            self._load(target, compare=True, reload=False)
        return None

    def _release(self) -> None:
        """Have the actor let go of its weights, once it is done with what it loads, unless it has none."""
        attempt = self._live
        if attempt.loading is None and not attempt.released:
            attempt.compare = False
            attempt.loading = Loading(attempt.handle.release_weights.remote(), "release", 0, -1)

    def _load(self, target: NumberedUpdate, compare: bool, reload: bool) -> None:
        """Have the actor load an update from where it was put, or with ``compare`` compare it, loaded or not."""
        handle = self._live.handle
        self._live.released = False
        if compare:
            call = handle.verify_weights.remote(target.update, reload=reload)
        else:
            call = handle.load_weights.remote(target.update)
        self._live.loading = Loading(call, "compare" if compare else "load", target.number, target.version)

    def _is_excused(self, loading: Loading) -> bool:
        """Tell whether a load failed for what was not the worker's fault, which lives and can take the next."""
        error = raised(loading.call)
        if loading.kind == "release":
            return False
        if loading.kind == "receive":
            self._live.compare = False
            if not isinstance(error, CalledOffError):
                self._live.holds = 0
            return error is not None
        if isinstance(error, BroadcastError):  # some have been overwritten
            self._live.holds = 0
        if isinstance(error, _LOST):
            self._live.lost = loading.number
        return isinstance(error, (*_LOST, FenceTimeoutError))

    def _record_answer(self, loading: Loading) -> None:
        """Record what a call that has succeeded found, if it was to compare weights, or to end a turn."""
        if loading.kind == "release":
            self._live.released, self._live.turn = True, ray.get(loading.call, timeout=1.0)
        elif self._check_weights is not None:
            found = ray.get(loading.call, timeout=1.0)
            if isinstance(found, Verification):
                self._check_weights.record(self.health.name, found)

    def _hangs(self, reason: str) -> str | None:
        """Begin to look at the actor, and to kill it; return the reason where its process is not found."""
        attempt = self._live
        beat = attempt.watch.last or self._hung.find(self.health.actor)
        if beat is None:
            return reason
        attempt.hung, attempt.killing = reason, self._hung.kill(self.health.actor, beat)
        return None

    def _too_long(self, deadline: float, what: str) -> str | None:
        if self._live.killing is not None or self.health.seconds <= deadline:
            return None
        return self._hangs(f"{what} took more than {deadline:.0f} s")
