from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from common.config import ConfigError
from orchestrator.fleet.health import Cause, Health, Muster, TooManyRestartsError, WorkerHealth


def make(
    max_restarts: int = 3,
    needs_weights: bool = True,
    clock: Callable[[], float] = lambda: 0.0,
    needs_room: bool = False,
) -> WorkerHealth:
    return WorkerHealth("rollout-1", max_restarts, clock, needs_weights, needs_room)


def died(worker: WorkerHealth) -> None:
    worker.died("killed")


EVENTS: dict[str, Callable[[WorkerHealth], None]] = {
    "placed": WorkerHealth.placed,
    "started": WorkerHealth.started,
    "weights_loaded": WorkerHealth.weights_loaded,
    "died": died,
    "restarted": WorkerHealth.restarted,
}
MOVES = {
    (Health.WAITING, "placed"): Health.STARTING,
    (Health.STARTING, "started"): Health.STALE,
    (Health.STARTING, "died"): Health.DEAD,
    (Health.STALE, "weights_loaded"): Health.HEALTHY,
    (Health.STALE, "died"): Health.DEAD,
    (Health.HEALTHY, "weights_loaded"): Health.HEALTHY,
    (Health.HEALTHY, "died"): Health.DEAD,
    (Health.DEAD, "restarted"): Health.STARTING,
}


@pytest.mark.parametrize(("state", "event"), list(product(Health, EVENTS)))
def test_every_state_and_event(state: Health, event: str) -> None:
    worker = make()
    worker.state = state
    if (state, event) in MOVES:
        EVENTS[event](worker)
        assert worker.state is MOVES[state, event]
    else:
        with pytest.raises(ValueError, match=rf"rollout-1: no transition from {state}"):
            EVENTS[event](worker)
        assert worker.state is state


def test_the_way_back_from_death_leads_through_the_weights() -> None:
    worker = make()
    states = []
    for event in ("started", "weights_loaded", "died", "restarted", "started", "weights_loaded"):
        EVENTS[event](worker)
        states.append(worker.state)
    assert states[2:] == [Health.DEAD, Health.STARTING, Health.STALE, Health.HEALTHY]


def test_a_worker_without_a_model_is_healthy_once_started() -> None:
    worker = make(needs_weights=False)
    worker.started()
    assert worker.state is Health.HEALTHY


def test_restarts_wait_longer_each_time_and_end_at_the_limit() -> None:
    worker = make(max_restarts=8)
    waits = []
    for _ in range(8):
        waits.append(worker.died("killed"))
        worker.restarted()
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    with pytest.raises(
        TooManyRestartsError, match=r"rollout-1 died 9 times .*restarts: 8.*last error: out of memory"
    ):
        worker.died("out of memory")
    assert worker.state is Health.DEAD
    assert worker.restarts == 8


def test_no_restart_is_allowed_where_the_limit_is_zero() -> None:
    with pytest.raises(TooManyRestartsError):
        make(max_restarts=0).died("killed")


def test_since_is_the_time_of_the_last_change() -> None:
    now = [10.0]
    worker = make(clock=lambda: now[0])
    assert worker.since == 10.0
    now[0] = 12.0
    worker.started()
    now[0] = 15.0
    with pytest.raises(ValueError, match="no transition"):
        worker.restarted()
    assert worker.since == 12.0


def test_a_worker_that_needs_room_waits_for_it_each_time_and_at_no_cost() -> None:
    worker = make(needs_room=True)
    assert worker.state is Health.WAITING
    worker.placed()
    assert worker.died("killed") == 0.0
    worker.restarted()
    assert (worker.state, worker.restarts) == (Health.WAITING, 1)


def test_who_went_with_its_node_is_not_counted_and_comes_back_at_once() -> None:
    worker = make(max_restarts=0)
    for _ in range(20):
        assert worker.died("node lost", Cause.NODE) == 0.0
        worker.restarted()
    assert worker.restarts == 0
    with pytest.raises(TooManyRestartsError):
        worker.died("killed")


def workers(*states: Health) -> list[WorkerHealth]:
    made = [make(needs_room=True) for _ in states]
    for worker, state in zip(made, states, strict=True):
        worker.state = state
    return made


@pytest.mark.parametrize(
    ("minimum", "states", "complete"),
    [
        (0, [], True),
        (1, [Health.WAITING, Health.STARTING], False),
        (1, [Health.WAITING, Health.STALE], True),
        (2, [Health.DEAD, Health.STALE], False),
        (2, [Health.STALE, Health.WAITING, Health.HEALTHY], True),
    ],
)
def test_a_pool_may_start_with_its_minimum(minimum: int, states: list[Health], complete: bool) -> None:
    muster = Muster("rollout.min_workers", minimum, deadline=300.0, clock=lambda: 0.0)
    assert muster.complete(workers(*states)) is complete


def test_a_pool_that_finds_no_room_says_what_to_do_after_the_deadline() -> None:
    now = [5.0]
    muster = Muster("rollout.min_workers", 2, deadline=300.0, clock=lambda: now[0])
    waiting = workers(Health.STALE, Health.WAITING, Health.WAITING)
    now[0] = 305.0
    assert not muster.complete(waiting)
    now[0] = 305.1
    with pytest.raises(ConfigError, match=r"rollout.min_workers: 1 of 2 workers found room .* within 300 s"):
        muster.complete(waiting)
    assert not muster.complete(workers(Health.STALE, Health.STARTING)), "loading has a deadline of its own"
    assert muster.complete(workers(Health.STALE, Health.STALE, Health.WAITING))
