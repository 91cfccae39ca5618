"""The state machine of a worker, its restarts, and the startup barrier, on a clock of the tests'."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from common.config import ConfigError
from orchestrator.fleet.health import (
    Cause,
    Health,
    RestartBudget,
    RestartLimit,
    StartupBarrier,
    TooManyRestartsError,
    WorkerHealth,
)

WINDOW = 3600.0


class Case:
    """A worker on a clock of its own whose first attempt has begun."""

    def __init__(self, restarts: int = 3, needs_weights: bool = True, needs_placement: bool = False) -> None:
        self.now = 10.0
        budget = RestartBudget(restarts, window=WINDOW)
        self.worker = WorkerHealth("rollout-1", budget, lambda: self.now, needs_weights, needs_placement)
        self.worker.begin_attempt()

    def play(self, *events: str) -> WorkerHealth:
        for event in events:
            EVENTS[event](self.worker)
        return self.worker

    def wait(self) -> float:
        """Seconds until the next attempt is due."""
        began = self.now
        while not self.worker.restart_due:
            self.now += 0.5
        return self.now - began


EVENTS: dict[str, Callable[[WorkerHealth], object]] = {
    "placed": lambda worker: worker.placed("far"),
    "started": lambda worker: worker.started(""),
    "weights_loaded": WorkerHealth.weights_loaded,
    "failed": lambda worker: worker.failed("killed", Cause.WORKER),
    "begin_attempt": WorkerHealth.begin_attempt,
}
WAYS = {
    Health.WAITING: (),
    Health.STARTING: ("placed",),
    Health.STALE: ("placed", "started"),
    Health.HEALTHY: ("placed", "started", "weights_loaded"),
    Health.DEAD: ("placed", "failed"),
}
MOVES = {
    (Health.WAITING, "placed"): Health.STARTING,
    (Health.STARTING, "started"): Health.STALE,
    (Health.STARTING, "failed"): Health.DEAD,
    (Health.STALE, "weights_loaded"): Health.HEALTHY,
    (Health.STALE, "failed"): Health.DEAD,
    (Health.HEALTHY, "weights_loaded"): Health.HEALTHY,
    (Health.HEALTHY, "failed"): Health.DEAD,
    (Health.DEAD, "begin_attempt"): Health.WAITING,
}


def test_every_state_and_event() -> None:
    for state, event in product(Health, EVENTS):
        worker = Case(needs_placement=True).play(*WAYS[state])
        assert worker.state is state
        if (state, event) in MOVES:
            EVENTS[event](worker)
            assert worker.state is MOVES[state, event]
        else:
            with pytest.raises(ValueError, match=rf"rollout-1: no transition from {state}"):
                EVENTS[event](worker)
            assert worker.state is state


def test_the_way_back_from_death_leads_through_the_weights() -> None:
    case, states = Case(), []
    for event in ("started", "weights_loaded", "failed", "begin_attempt", "started", "weights_loaded"):
        states.append(case.play(event).state)
    assert states[2:] == [Health.DEAD, Health.STARTING, Health.STALE, Health.HEALTHY]


def test_a_worker_without_a_model_is_healthy_once_started() -> None:
    assert Case(needs_weights=False).play("started").state is Health.HEALTHY


def test_each_attempt_has_an_actor_of_its_own() -> None:
    case = Case()
    names = [
        case.worker.actor,
        case.play("failed", "begin_attempt").actor,
        case.play("failed", "begin_attempt").actor,
    ]
    assert names == ["rollout-1", "rollout-1-restart-1", "rollout-1-restart-2"]


def test_the_node_of_an_attempt_is_known_from_its_placement_and_corrected_by_its_start() -> None:
    worker = Case(needs_placement=True).worker
    assert worker.node == ""
    worker.placed("far")
    worker.started("")
    assert worker.node == "far"
    worker.failed("killed", Cause.NODE)
    worker.begin_attempt()
    worker.placed("far")
    worker.started("near")
    assert worker.node == "near"


def test_restarts_wait_longer_each_time_and_end_at_the_limit() -> None:
    case, waits = Case(restarts=8), []
    for number in range(1, 9):
        assert case.worker.failed("killed", Cause.WORKER) == f"rollout-1 died (killed); restart {number}"
        waits.append(case.wait())
        case.play("begin_attempt")
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    with pytest.raises(
        TooManyRestartsError,
        match=r"rollout-1 died 9 times within 3600 s .*restarts: 8 .*last error: out of memory",
    ):
        case.worker.failed("out of memory", Cause.WORKER)
    assert case.worker.state is Health.DEAD
    assert case.worker.restarts == 8


def test_no_restart_is_allowed_where_the_limit_is_zero() -> None:
    with pytest.raises(
        TooManyRestartsError,
        match=r"^the learner died 1 times within 60 s \(deadlines.restarts: 0 .*; last error: x",
    ):
        RestartLimit("the learner", RestartBudget(0, 60.0), lambda: 0.0).count("x")


def test_restarts_that_are_long_ago_do_not_count_but_are_told() -> None:
    now = [0.0]
    limit = RestartLimit("the learner", RestartBudget(2, 60.0), lambda: now[0])
    for number in range(1, 20):  # one every half a minute or so, for ever
        limit.count("killed")
        assert limit.used == number
        now[0] += 30.1
    assert limit.recent == 1
    limit.count("killed")
    with pytest.raises(TooManyRestartsError, match=r"died 3 times within 60 s"):
        limit.count("killed")


def test_a_worker_that_had_worked_for_a_while_comes_back_as_fast_as_at_first() -> None:
    case = Case(restarts=9)
    for seconds, slow in ((1.0, 0.0), (1.0, 1.0), (29.0, 2.0), (30.0, 0.0), (1.0, 1.0)):
        case.play("started", "weights_loaded")
        case.now += seconds
        case.play("failed")
        assert case.wait() == slow
        case.play("begin_attempt")


def test_seconds_count_from_the_last_change_and_from_the_begin_of_a_load() -> None:
    case = Case()
    case.now += 2.0
    assert case.worker.seconds == 2.0
    case.play("started")
    case.now += 3.0
    with pytest.raises(ValueError, match="no transition"):
        case.play("begin_attempt")
    assert case.worker.seconds == 3.0
    case.worker.loading_began()
    assert case.worker.seconds == 0.0


def test_a_worker_that_was_lost_with_its_node_is_not_counted_and_comes_back_at_once() -> None:
    case = Case(restarts=0)
    for _ in range(20):
        assert case.worker.failed("node lost", Cause.NODE).startswith("rollout-1 was lost with its node")
        assert case.wait() == 0.0
        case.play("begin_attempt")
    assert case.worker.restarts == 0
    with pytest.raises(TooManyRestartsError):
        case.play("failed")


@pytest.mark.parametrize(
    ("minimum", "states", "passed"),
    [
        (0, [], True),
        (1, [Health.WAITING, Health.STARTING], False),
        (1, [Health.WAITING, Health.STALE], True),
        (2, [Health.DEAD, Health.STALE], False),
        (2, [Health.STALE, Health.WAITING, Health.HEALTHY], True),
    ],
)
def test_a_pool_may_start_with_its_minimum(minimum: int, states: list[Health], passed: bool) -> None:
    barrier = StartupBarrier("rollout.min_workers", minimum, deadline=300.0, clock=lambda: 0.0)
    assert barrier.passed(states) is passed


def test_a_pool_that_finds_no_resources_says_what_to_do_after_the_deadline() -> None:
    now = [5.0]
    barrier = StartupBarrier("rollout.min_workers", 2, deadline=300.0, clock=lambda: now[0])
    waiting = [Health.STALE, Health.WAITING, Health.WAITING]
    now[0] = 305.0
    assert not barrier.passed(waiting)
    now[0] = 305.1
    with pytest.raises(ConfigError, match=r"rollout.min_workers: 1 of 2 workers found room .* within 300 s"):
        barrier.passed(waiting)
    assert not barrier.passed([Health.STALE, Health.STARTING]), "loading has a deadline of its own"
    assert barrier.passed([Health.STALE, Health.STALE, Health.WAITING])
