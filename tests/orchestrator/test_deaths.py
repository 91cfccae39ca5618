from __future__ import annotations

import pytest

from orchestrator.fleet.failures import OPEN_SECONDS, Deaths
from orchestrator.fleet.health import Health, TooManyRestartsError, WorkerHealth


class Case:
    """A pool of one worker on a clock of its own; ``lost`` are the nodes that Ray has given up."""

    def __init__(self, max_restarts: int = 3) -> None:
        self.now = 100.0
        self.lost: set[str] = set()
        self.asked = 0
        self.worker = WorkerHealth("rollout-1", max_restarts, lambda: self.now)
        self.deaths = Deaths("own", self._lost_nodes, lambda: self.now)

    def _lost_nodes(self) -> set[str]:
        self.asked += 1
        return self.lost

    def dies(self, node: str, reason: str = "killed") -> tuple[float, str]:
        if self.worker.state is Health.DEAD:
            self.worker.restarted()
        return self.deaths.record(self.worker, node, reason)

    def settled(self, after: float) -> list[str]:
        self.now += after
        return self.deaths.settle()


@pytest.mark.parametrize("node", ["own", ""])
def test_a_death_beside_the_driver_or_nobody_knows_where_counts_at_once(node: str) -> None:
    case = Case()
    assert case.dies(node) == (0.0, "rollout-1 died (killed); restart 1")
    assert (case.worker.restarts, case.worker.open) == (1, 0)
    assert case.settled(OPEN_SECONDS) == []
    assert case.asked == 0


def test_a_death_on_a_node_that_ray_has_given_up_does_not_count() -> None:
    case = Case(max_restarts=0)
    case.lost = {"far"}
    wait, note = case.dies("far")
    assert wait == 0.0
    assert note.startswith("rollout-1 went with its node, which is no restart")
    assert (case.worker.restarts, case.worker.open) == (0, 0)


def test_a_node_that_is_given_up_after_its_worker_takes_the_death_back() -> None:
    case = Case(max_restarts=0)
    _, note = case.dies("far")
    assert note == "rollout-1 died (killed); a restart, unless with its node"
    assert case.settled(7.0) == []
    case.lost = {"other", "far"}
    assert [n.split(",")[0] for n in case.settled(7.0)] == ["rollout-1 went with its node"]
    assert case.settled(OPEN_SECONDS) == []
    assert (case.worker.restarts, case.worker.open) == (0, 0)


def test_a_death_counts_once_its_node_has_had_the_time_to_be_missed() -> None:
    case = Case()
    case.dies("far")
    assert case.settled(OPEN_SECONDS - 0.1) == []
    assert case.worker.restarts == 0
    assert case.settled(0.6) == []
    assert (case.worker.restarts, case.worker.open) == (1, 0)
    case.lost = {"far"}
    assert case.settled(1.0) == [], "the node was lost later, and with it nobody of ours"
    assert case.worker.restarts == 1


def test_the_limit_holds_for_deaths_on_other_nodes_when_they_are_settled() -> None:
    case = Case(max_restarts=1)
    case.dies("far", "first")
    case.dies("far", "second")
    with pytest.raises(TooManyRestartsError, match=r"rollout-1 died 2 times .*restarts: 1.*last error: second"):
        case.settled(OPEN_SECONDS)


def test_open_deaths_make_the_next_restart_wait_longer() -> None:
    case = Case()
    waits = [case.dies(node)[0] for node in ("far", "own", "far", "own")]
    assert waits == [0.0, 1.0, 2.0, 4.0]
    case.lost = {"far"}
    case.settled(1.0)
    assert (case.worker.restarts, case.worker.open) == (2, 0)
    assert case.dies("own")[0] == 2.0


def test_ray_is_not_asked_at_every_turn_of_the_loop() -> None:
    case = Case()
    case.dies("far")
    case.settled(1.0)
    asked = case.asked
    for _ in range(10):
        case.settled(0.01)
    assert case.asked == asked
    case.settled(0.5)
    assert case.asked == asked + 1
