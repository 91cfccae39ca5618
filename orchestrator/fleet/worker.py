"""One worker: its actor is placed, started, given weights and watched, attempt after attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray

from common.config import DeadlinesConfig
from common.turns import Turn
from common.weights.location import Location
from common.weights.messages import Plan
from common.weights.planner import members_of
from orchestrator.fleet.attempts import Attempt
from orchestrator.fleet.calls import outcome
from orchestrator.fleet.failures import node_at
from orchestrator.fleet.health import Health, WorkerHealth
from orchestrator.fleet.held_weights import HeldWeights
from orchestrator.fleet.hung_processes import HungProcesses
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.published import NumberedUpdate
from orchestrator.fleet.watch import ActorWatch
from orchestrator.fleet.weights_check import WeightsCheck

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
        return self._attempt is not None and self._attempt.weights.loading

    @property
    def comparing(self) -> bool:
        """Whether the actor compares weights with those published, or is about to."""
        return self._attempt is not None and self._attempt.weights.comparing

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
        starting, attempt = self.health.state is Health.STARTING, self._attempt
        return not starting and attempt is not None and attempt.weights.rests

    def take_turn(self) -> Turn | None:
        """Return the turn that the actor has ended, if it is one that was not asked for yet."""
        return self._attempt.weights.take_turn() if self._attempt is not None else None

    def holds(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number."""
        return self._attempt is not None and self._attempt.weights.holds(number)

    def gets(self, number: int) -> bool:
        """Tell whether the actor holds the update of this number, or is loading it."""
        return self._attempt is not None and self._attempt.weights.gets(number)

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
                failure = outcome(self._live.running, 0.0, pending=None) or self._live.weights.follow(
                    target, first=False
                )
        if failure is None and not awake:
            self._live.weights.release()
        return self.late() or (failure if self._live.killing is None else None)

    def receive(self, plan: Plan, number: int, version: int) -> None:
        """Have the actor take part in the broadcast of an update, in which it has members."""
        rank = plan.rank(next(iter(self.members)))
        self._live.weights.receive(plan, rank, number, version)

    def transfer_failure(self) -> str | None:
        """Return why the worker cannot go on with the transfer under way; None where it can."""
        failure = self._live.weights.failure()
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
        weights = HeldWeights(handle, self.health.name, self._check_weights, released=self._takes_turns)
        self._attempt = Attempt(handle, watch, weights, starting)

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
        attempt, weights = self._live, self._live.weights
        begins = not weights.loading
        failure = weights.follow(target, first=True)
        if begins and weights.loading:
            self.health.loading_began()
        if failure is None and target is not None and weights.holds(target.number):
            self.health.weights_loaded()
            attempt.running = attempt.handle.run.remote()
        if failure is None and weights.loading:
            return self._too_long(self._deadlines.weights_seconds, "weights")
        return failure

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
