"""Failure attribution: which failures of workers count as restarts, and when that is known."""

from __future__ import annotations

import pytest

from orchestrator.fleet.failures import FailureAttribution
from orchestrator.fleet.health import ATTRIBUTION_SECONDS, RestartBudget, TooManyRestartsError, WorkerHealth


class Case:
    """A pool of one worker on a clock of its own; ``lost`` are the nodes that Ray has given up."""

    def __init__(self, restarts: int = 3) -> None:
        self.now = 100.0
        self.lost: set[str] = set()
        self.asked = 0
        self.worker = WorkerHealth("rollout-1", RestartBudget(restarts, 3600.0), lambda: self.now)
        self.attribution = FailureAttribution("own", self._lost_nodes, lambda: self.now)

    def _lost_nodes(self) -> set[str]:
        self.asked += 1
        return self.lost

    def fails(self, node: str, reason: str = "killed") -> str:
        """Run an attempt on ``node`` that fails."""
        self.worker.begin_attempt()
        self.worker.started(node)
        return self.worker.failed(reason, self.attribution.cause(node))

    def resolved(self, after: float) -> list[str]:
        self.now += after
        return self.attribution.resolve([self.worker])

    @property
    def counts(self) -> tuple[int, int]:
        """Failures that count, and those of which that is open."""
        return self.worker.restarts, self.worker.unattributed


@pytest.mark.parametrize("node", ["own", ""])
def test_a_failure_beside_the_driver_or_nobody_knows_where_counts_at_once(node: str) -> None:
    case = Case()
    assert case.fails(node) == "rollout-1 died (killed); restart 1"
    assert case.counts == (1, 0)
    assert case.resolved(ATTRIBUTION_SECONDS) == []
    assert case.asked == 0


def test_a_failure_on_a_node_that_ray_has_given_up_does_not_count() -> None:
    case = Case(restarts=0)
    case.lost = {"far"}
    assert case.fails("far").startswith("rollout-1 was lost with its node: no restart is counted")
    assert case.counts == (0, 0)
    assert case.worker.restart_due


def test_a_node_that_is_given_up_after_its_worker_takes_the_failure_back() -> None:
    case = Case(restarts=0)
    assert case.fails("far") == "rollout-1 died (killed); a restart, unless its node is lost too"
    assert case.resolved(7.0) == []
    case.lost = {"other", "far"}
    assert [note.split(":")[0] for note in case.resolved(7.0)] == ["rollout-1 was lost with its node"]
    assert case.resolved(ATTRIBUTION_SECONDS) == []
    assert case.counts == (0, 0)


def test_a_failure_counts_once_its_node_has_had_the_time_to_be_missed() -> None:
    case = Case()
    case.fails("far")
    assert case.resolved(ATTRIBUTION_SECONDS - 0.1) == []
    assert case.worker.restarts == 0
    assert case.resolved(0.6) == []
    assert case.counts == (1, 0)
    case.lost = {"far"}
    assert case.resolved(1.0) == [], "the node was lost later, and with it no attempt of this worker"
    assert case.counts == (1, 0)


def test_the_limit_holds_for_failures_that_count_later() -> None:
    case = Case(restarts=1)
    case.fails("far", "first")
    case.fails("far", "second")
    with pytest.raises(TooManyRestartsError, match=r"rollout-1 died 2 times .*restarts: 1.*last error: second"):
        case.resolved(ATTRIBUTION_SECONDS)


def test_failures_that_may_still_count_make_the_next_attempt_wait() -> None:
    case = Case()
    for node, wait in (("far", 0.0), ("own", 1.0), ("far", 2.0), ("own", 4.0)):
        case.fails(node)
        if wait:
            case.now += wait - 0.25
            assert not case.worker.restart_due
            case.now += 0.25
        assert case.worker.restart_due
    case.lost = {"far"}
    case.resolved(1.0)
    assert case.counts == (2, 0)


def test_ray_is_not_asked_at_every_turn_of_the_loop() -> None:
    case = Case()
    case.fails("far")
    case.resolved(1.0)
    asked = case.asked
    for _ in range(10):
        case.resolved(0.01)
    assert case.asked == asked
    case.resolved(0.5)
    assert case.asked == asked + 1
