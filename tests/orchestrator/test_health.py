from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from orchestrator.health import Health, TooManyRestartsError, WorkerHealth


def make(
    max_restarts: int = 3, needs_weights: bool = True, clock: Callable[[], float] = lambda: 0.0
) -> WorkerHealth:
    return WorkerHealth("rollout-1", max_restarts, clock, needs_weights)


def died(worker: WorkerHealth) -> None:
    worker.died("killed")


EVENTS: dict[str, Callable[[WorkerHealth], None]] = {
    "started": WorkerHealth.started,
    "weights_loaded": WorkerHealth.weights_loaded,
    "died": died,
    "restarted": WorkerHealth.restarted,
}
MOVES = {
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
