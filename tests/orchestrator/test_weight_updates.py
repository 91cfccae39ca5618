"""Weights from a learner's group of ranks to a pool of workers, by a real Ray; the actors hold made-up weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from common.actors import WatchedActor
from common.config import DeadlinesConfig
from common.weights.location import Location
from common.weights.messages import Plan, WeightsUpdate
from common.weights.planner import Transport
from orchestrator.fleet import learner_group
from orchestrator.fleet.cluster import local_ray
from orchestrator.fleet.forking.process import fork_server
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.pool import PoolSpec, WorkerPool
from orchestrator.fleet.rank_group import LearnerDiedError, start_ranks
from orchestrator.fleet.weights_check import WeightsDifferError
from tests.orchestrator import weight_fleet
from tests.orchestrator.weight_fleet import LONG, SETTINGS, Fleet, make_config, remote

#: For what has to pass, because nothing else tells of a process that hangs.
SHORT = 4.0


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    modules = (sys.modules[__name__], weight_fleet)
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)  # workers cannot import tests
    with (
        fork_server(("torch",), ("benchmarks.weights", "common.weights.loader")),  # importing torch takes seconds
        local_ray(tmp_path_factory.mktemp("ray"), dashboard=False, object_store_bytes=256 << 20),
    ):
        yield
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def start() -> Iterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def make(transport: Transport, **settings: Any) -> Fleet:
        fleets.append(Fleet(transport, **settings))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


@pytest.fixture(scope="module")
def struck(cluster: None) -> Iterator[Fleet]:
    """A fleet whose heartbeats are soon missed. Its tests leave it healthy: actors take seconds to start."""
    fleet = Fleet("collective", heartbeat_seconds=SHORT)
    yield fleet
    fleet.end()


def test_a_missed_broadcast_is_made_up_for_and_a_worker_that_dies_of_one_is_replaced(struck: Fleet) -> None:
    fleet = struck
    received, restarts = fleet.received(), fleet.pool.restarts
    assert fleet.update() == []
    assert fleet.hold_the_learners_weights()
    assert fleet.received() == [count + 1 for count in received]

    fleet.workers["rollout-0"].come_to_grief.remote("raise")
    (failed,) = fleet.update()
    assert "broadcast failed" in failed
    assert fleet.hold_the_learners_weights(), "both, from where they were put"
    assert fleet.pool.restarts == restarts

    fleet.workers["rollout-1"].come_to_grief.remote("SIGKILL")
    failed, died = fleet.update()
    assert died.startswith("rollout-1 died (its process was killed or crashed; more in failures.log")
    assert "broadcast failed" in failed
    assert "rollout-1" in failed
    assert fleet.hold_the_learners_weights(), "the survivor and the newcomer"
    assert fleet.pool.restarts == restarts + 1

    assert fleet.update() == []
    assert fleet.hold_the_learners_weights()
    assert fleet.received()[1] == 1, "in a new group, the newcomer's first"


def test_a_worker_that_hangs_in_a_broadcast_is_named_and_alone_replaced(struck: Fleet) -> None:
    """Its heartbeat tells, long before the broadcast's deadline; whoever else takes part goes on."""
    fleet = struck
    other, restarts = fleet.workers["rollout-1"], fleet.pool.restarts
    fleet.workers["rollout-0"].come_to_grief.remote("SIGSTOP")
    failed, died = fleet.update()
    assert "rollout-0: hangs: no answer for" in failed
    assert died.startswith("rollout-0 died (hung: no answer for ")
    assert "was stopped" in died
    assert fleet.hold_the_learners_weights()
    assert fleet.pool.restarts == restarts + 1
    assert fleet.workers["rollout-1"] is other


def test_nobody_waits_for_a_worker_in_a_long_batch_and_nobody_replaces_it(
    start: Callable[..., Fleet],
) -> None:
    """It skips what was published meanwhile, and takes the newest weights when it can, whichever way they go."""
    fleet = start("collective", weights_seconds=SHORT)
    busy = fleet.workers["rollout-0"]
    ray.get(busy.begin_batch.remote(), timeout=LONG)
    (failed,) = fleet.publish()
    assert "not ready: rollout-0" in failed
    assert fleet.publish() == []
    end = time.monotonic() + 1.2 * SHORT
    while time.monotonic() < end:
        assert fleet.pool.poll() == []
        time.sleep(0.05)
    assert ray.get(busy.version.remote(), timeout=LONG) == 1
    assert ray.get(fleet.workers["rollout-1"].version.remote(), timeout=LONG) == 3
    ray.get(busy.end_batch.remote(), timeout=LONG)
    assert fleet.wait_until_healthy() == []
    assert fleet.hold_the_learners_weights()
    assert fleet.workers["rollout-0"] is busy


def test_a_newcomer_loads_what_is_held_and_newer_weights_that_come_meanwhile_afterwards(
    start: Callable[..., Fleet],
) -> None:
    fleet = start("auto")
    assert fleet.update() == []
    assert fleet.hold_the_learners_weights()
    assert fleet.received() == [0, 0], "on one machine, out of shared memory"
    assert fleet.compute_in_place()
    _check_that_a_long_batch_keeps_its_weights_and_nobody_waits_for_it(fleet)

    fleet.pool.hold()
    assert fleet.update() == []
    assert fleet.versions() == [5, 5]
    fleet.slow = True
    first = fleet.workers["rollout-0"]
    ray.kill(first)
    end = time.monotonic() + LONG
    while fleet.workers["rollout-0"] is first or not ray.get(fleet.workers["rollout-0"].begun.remote()):
        assert time.monotonic() < end
        fleet.pool.poll()
        time.sleep(0.05)
    fleet.pool.release()
    assert fleet.publish() == []
    fleet.wait_until_healthy()
    assert fleet.hold_the_learners_weights()
    assert fleet.versions() == [7, 7]
    assert ray.get(fleet.workers["rollout-0"].begun.remote(), timeout=LONG) == [5, 7]
    _check_that_another_machine_waits_for_what_is_still_being_published(fleet)
    _check_that_weights_die_with_all_that_hold_them(fleet)


def _check_that_a_long_batch_keeps_its_weights_and_nobody_waits_for_it(fleet: Fleet) -> None:
    """The learner writes over no memory that the batch computes with, however many versions come meanwhile."""
    busy, other = fleet.workers["rollout-0"], fleet.workers["rollout-1"]
    before = ray.get([busy.digest.remote(SETTINGS.dtype), busy.begin_batch.remote()], timeout=LONG)[0]
    for version in (3, 4, 5):
        assert fleet.publish() == []
        while ray.get(other.version.remote(), timeout=LONG) != version:
            assert fleet.pool.poll() == []
            time.sleep(0.05)
        assert ray.get(busy.digest.remote(SETTINGS.dtype), timeout=LONG) == before
    assert fleet.versions() == [2, 5]
    ray.get(busy.end_batch.remote(), timeout=LONG)
    assert fleet.wait_until_healthy() == []
    assert fleet.hold_the_learners_weights()
    assert fleet.compute_in_place()


def _check_that_another_machine_waits_for_what_is_still_being_published(fleet: Fleet) -> None:
    """Its workers hear of an update with all others, before it can be put into the object store."""
    rank, worker = fleet.rank, fleet.workers["rollout-1"]
    ray.get(rank.change.remote(), timeout=LONG)
    offered = ray.get(rank.offer_weights.remote(None, ()), timeout=LONG).update
    elsewhere = replace(offered, buckets=replace(offered.buckets, node="elsewhere"))
    loads = worker.load_weights.remote(elsewhere)
    assert ray.wait([loads], timeout=0.5) == ([], [loads])
    ray.get(rank.publish.remote(None), timeout=LONG)
    assert ray.get(loads, timeout=LONG) == 8
    assert len(set(ray.get([a.digest.remote(SETTINGS.dtype) for a in (rank, worker)], timeout=LONG))) == 1


def _check_that_weights_die_with_all_that_hold_them(fleet: Fleet) -> None:
    """They are in the memory of the learner that published them, and in that of the workers."""
    fleet.pool.hold()
    ray.kill(fleet.rank)
    fleet.pool.poll()
    assert fleet.pool.has_target
    for worker in fleet.workers.values():
        ray.kill(worker)
    end = time.monotonic() + LONG
    while fleet.pool.has_target:
        assert time.monotonic() < end
        fleet.pool.poll()
        time.sleep(0.05)


def test_workers_of_two_ranks_verify_what_they_hold_at_every_start_and_after_their_first_broadcast(
    start: Callable[..., Fleet],
) -> None:
    """Every worker says once, of either way, that it holds what was published; a difference ends the run."""
    fleet = start("collective", verify=True, ranks=2)
    (loaded,) = fleet.verified()
    assert (loaded.workers, loaded.reloaded) == (("rollout-0", "rollout-1"), True)
    assert (loaded.version, loaded.tensors, loaded.bytes) == (1, 3, SETTINGS.bytes)
    assert fleet.update() == []
    (broadcast,) = fleet.verified()
    assert (broadcast.workers, broadcast.version, broadcast.reloaded) == (loaded.workers, 2, False)
    assert fleet.update() == []
    assert fleet.pool.verified() == []
    assert fleet.received() == [2, 2]
    assert fleet.hold_the_learners_weights(), "all of their ranks"

    ray.kill(fleet.workers["rollout-0"])
    fleet.grief = "damage"
    with pytest.raises(
        WeightsDifferError, match=r"rollout-0 does not hold .*: 1 of 3 tensors differ: parameter-1;"
    ):
        fleet.poll_until_it_fails()


class Parent(WatchedActor):
    """A worker with a process of its own, as one with tensor parallelism has."""

    def __init__(self) -> None:
        super().__init__(LONG)
        self._child = subprocess.Popen(["sleep", str(LONG)])

    def metrics_address(self) -> str:
        return ""

    def processes(self) -> list[int]:
        return [os.getpid(), self._child.pid]

    def run(self) -> None:
        time.sleep(LONG)


def holds_resources(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_replacement_is_placed_when_all_processes_of_its_predecessor_are_gone() -> None:
    """Else they would hold the GPUs and the memory that it needs."""
    placement = PlacementGroups("test", {"CPU": ray.cluster_resources()["CPU"]})
    spawned: list[Any] = []
    processes: list[psutil.Process] = []
    left: list[psutil.Process] = []

    def spawn(consumer: str, actor: str) -> Any:
        left.extend(process for process in processes if holds_resources(process))
        spawned.append(remote(Parent, **placement.options(actor)).remote())
        return spawned[-1]

    spec = PoolSpec("rollout", 1, needs_weights=False)
    pool = WorkerPool(spec, spawn, DeadlinesConfig(start_seconds=LONG), placement)
    pool.wait_until_started(lambda: None)
    processes += map(psutil.Process, ray.get(spawned[0].processes.remote(), timeout=LONG))
    processes[0].kill()
    end = time.monotonic() + LONG
    while len(spawned) < 2:
        assert time.monotonic() < end
        pool.poll()
        time.sleep(0.05)
    assert left == []
    ray.kill(spawned[-1])
    placement.remove("rollout-0-restart-1")


class Rank(WatchedActor):
    """A learner rank whose step goes wrong in its own way."""

    def __init__(self, fate: str) -> None:
        super().__init__(LONG)
        self._fate = fate

    def rendezvous(self) -> None:
        pass

    def start(self, rendezvous: None, checkpoint: None) -> int:
        if self._fate == "stop":
            time.sleep(0.5)  # so that its heartbeat has been answered once
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1.0)  # the signal may stop another thread first
        return 0

    def metrics_address(self) -> str:
        return ""

    def location(self) -> Location:
        return Location("", "", "")

    def step(self, checkpoint: bool) -> None:
        if self._fate == "raise":
            raise RuntimeError("Connection closed by peer")
        if self._fate == "die":
            time.sleep(0.5)  # its peer sees that before Ray does
            os._exit(1)
        if self._fate == "hang":
            time.sleep(LONG)

    def publish(self, plan: Plan | None) -> WeightsUpdate | None:
        self.step(False)
        return None


@pytest.mark.parametrize(
    ("fates", "message"),
    [
        (("raise", "die"), r"^learner-1: its process was killed or crashed"),
        (("hang", "raise"), r"^learner-1: RuntimeError: Connection closed by peer; more in failures.log$"),
        (
            ("", "hang"),
            r"^learner-1 hung: no result within 2 s; process \d+ was (sleeping|running); its stack is in "
            r"stacks/learner-1-",
        ),
    ],
)
def test_a_failed_rank_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fates: tuple[str, str], message: str
) -> None:
    monkeypatch.setattr(learner_group, "GRACE_SECONDS", 0.0)
    ranks: list[Any] = []

    def spawn(rank: int, name: str) -> Any:
        ranks.append(remote(Rank).remote(fates[rank]))
        return ranks[-1]

    config = make_config(DeadlinesConfig(weights_seconds=1.0), tmp_path, ranks=2)
    learner = LearnerGroup(config, spawn, lambda: None)
    learner.start(None)
    learner.begin_publish(None)
    with pytest.raises(LearnerDiedError, match=message):
        learner.end_publish(lambda: None)
    for rank in ranks:
        ray.kill(rank)


def test_a_rank_that_hangs_at_its_start_is_named_and_the_start_tried_again(tmp_path: Path) -> None:
    ranks: list[Any] = []

    def spawn(rank: int, name: str) -> Any:
        ranks.append(remote(Rank).remote("" if ranks else "stop"))
        return ranks[-1]

    deadlines = DeadlinesConfig(heartbeat_seconds=2.0, start_seconds=LONG)
    learner = LearnerGroup(make_config(deadlines, tmp_path), spawn, lambda: None)
    notes: list[str] = []
    start_ranks(learner, None, lambda: None, notes.append)
    (note,) = notes
    assert "learner-0 hung: no answer for 2 s" in note
    assert " was stopped; its stack is in stacks/learner-0-" in note
    assert note.endswith("restart 1 from version 0")
    (stack,) = (tmp_path / "stacks").iterdir()
    assert "Rank.start" in stack.read_text()
    assert learner.restarts == 1
    ray.kill(ranks[-1])
