"""Weights from a learner's group of ranks to a pool of workers, by a real Ray; the actors hold made-up weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from torch import Tensor

from benchmarks.weights import MadeUpRank, ReceivingWorker, Settings
from common.actors import WatchedActor, as_remote
from common.config import Config, DeadlinesConfig
from common.weights.broadcast import Location
from common.weights.broadcast_group import Plan
from common.weights.buckets import WeightsUpdate
from common.weights.comparison import HeldTensors, Verification
from common.weights.fence import VersionFence
from common.weights.loader import LocalWeights, WeightsLoader
from common.weights.planner import Transport
from orchestrator.fleet import learner_group
from orchestrator.fleet.cluster import local_ray
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.placement import PlacementGroups
from orchestrator.fleet.pool import PoolSpec, WorkerPool
from orchestrator.fleet.rank_group import LearnerDiedError, start_ranks
from orchestrator.fleet.weights_check import Verified, WeightsDifferError

SETTINGS = Settings(mib=40, workers=2, dtype="float32", repeats=1)
LONG = 60.0
#: For what has to pass, because nothing else tells of a process that hangs.
SHORT = 4.0


class Disturbed(HeldTensors):
    """Comes to grief of a kind when it next loads its second parameter; ``damage`` of one bit stays."""

    grief = ""

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        super().load(self._disturbed(weights))

    def _disturbed(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        grief = self.grief
        if grief != "damage":
            self.grief = ""
        for number, (name, tensor) in enumerate(weights):
            if number == 1 and grief == "raise":
                raise ValueError("grief")
            if number == 1 and grief == "damage":
                tensor = tensor.clone()
                tensor.view(torch.uint8)[-1, 0] ^= 1
            elif number == 1 and grief:
                os.kill(os.getpid(), getattr(signal, grief))
            yield name, tensor


class Ranks:
    """Weights that are held several times, each by a member of its own in broadcasts, as by tensor parallelism."""

    def __init__(self, ranks: Sequence[LocalWeights]) -> None:
        self._ranks = ranks

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        everything = [(name, tensor.clone()) for name, tensor in weights]
        for rank in self._ranks:
            rank.load(everything)

    def corrupt(self) -> None:
        for rank in self._ranks:
            rank.corrupt()

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        everything = [(name, tensor.clone()) for name, tensor in weights]
        return list(dict.fromkeys(name for rank in self._ranks for name in rank.differing(everything)))

    @contextmanager
    def receiving(self, plan: Plan, rank: int, deadline: float) -> Iterator[tuple[int, Callable[[], None]]]:
        """No rank's group is there before all of them have come."""
        with ExitStack() as stack, ThreadPoolExecutor(len(self._ranks)) as threads:
            contexts = [member.receiving(plan, rank + n, deadline) for n, member in enumerate(self._ranks)]
            entered = list(threads.map(lambda context: context.__enter__(), contexts))
            for context in contexts:
                stack.push(context)

            def finish() -> None:
                for _ in threads.map(lambda member: member[1](), entered):
                    pass

            yield entered[0][0], finish


class Worker(ReceivingWorker):
    """Can be told to come to grief. A slow one takes its time to begin."""

    def __init__(self, deadline: float, slow: bool, grief: str, ranks: int) -> None:
        super().__init__(SETTINGS, deadline)
        self._slow = slow
        self._begun: list[int] = []
        self._received = 0
        self._weights = Disturbed(self._parameters)
        self._weights.grief = grief
        copies = [HeldTensors({n: t.clone() for n, t in self._parameters.items()}) for _ in range(ranks - 1)]
        held = [LocalWeights(weights) for weights in (self._weights, *copies)]
        self._copies = copies
        self._places = ranks * super().locations()
        self._fence = VersionFence()
        holder = Ranks(held) if copies else held[0]
        self._loader = WeightsLoader(holder, self._fence, deadline, LONG, self.heart)

    def locations(self) -> tuple[Location, ...]:
        return self._places

    def begin_batch(self) -> None:
        """Keep the weights from changing until :meth:`end_batch`."""
        self._batch = ExitStack()
        self._batch.enter_context(self._fence.reading(0, LONG))

    def end_batch(self) -> None:
        self._batch.close()

    def version(self) -> int:
        return self._fence.version

    def come_to_grief(self, how: str) -> None:
        self._weights.grief = how

    def verify_weights(self, update: WeightsUpdate, reload: bool) -> Verification:
        return self._loader.verify(update, reload)

    def digest(self, dtype: str) -> str:
        alone = any(copy.differing(self._parameters.items()) for copy in self._copies)
        return "ranks that differ" if alone else super().digest(dtype)

    def run(self) -> None:
        time.sleep(LONG)

    def load_weights(self, update: WeightsUpdate) -> int:
        self._begun.append(update.manifest.version)
        if self._slow:
            time.sleep(2.0)
        return super().load_weights(update)

    def begun(self) -> list[int]:
        """The versions that it has begun to load from where they were put."""
        return self._begun

    def receive_weights(self, plan: Plan, first_rank: int, version: int) -> int:
        super().receive_weights(plan, first_rank, version)
        self._received += 1
        return version

    def received(self) -> int:
        return self._received


class Fleet:
    """A learner of one rank and two workers."""

    def __init__(
        self,
        transport: Transport,
        weights_seconds: float = LONG,
        heartbeat_seconds: float = LONG,
        verify: bool = False,
        ranks: int = 1,
    ) -> None:
        deadlines = DeadlinesConfig(
            weights_seconds=weights_seconds, start_seconds=LONG, heartbeat_seconds=heartbeat_seconds
        )
        self.workers: dict[str, Any] = {}
        self.slow = False
        self.grief = ""

        def spawn(consumer: str, actor: str) -> Any:
            self.workers[consumer] = _remote(Worker).remote(weights_seconds, self.slow, self.grief, ranks)
            return self.workers[consumer]

        def spawn_rank(rank: int, name: str) -> Any:
            self.rank = _remote(MadeUpRank).remote(SETTINGS, weights_seconds)
            return self.rank

        self.learner = LearnerGroup(_config(deadlines), spawn_rank, lambda: None)
        self.learner.start(None)
        spec = PoolSpec("rollout", SETTINGS.workers, True, transport=transport, verify_weights=verify)
        self.pool = WorkerPool(spec, spawn, deadlines)
        self.pool.wait_until_started(lambda: None)
        assert self.update() == []

    def publish(self) -> list[str]:
        ray.get(self.rank.change.remote(), timeout=LONG)
        return self.pool.publish(self.learner, lambda: None)

    def update(self) -> list[str]:
        """Publish other weights and wait until all workers hold them; return the notes."""
        return self.publish() + self.wait_until_healthy()

    def wait_until_healthy(self) -> list[str]:
        end = time.monotonic() + LONG
        notes: list[str] = []
        while not self.pool.all_healthy:
            assert time.monotonic() < end
            notes += self.pool.poll()
            time.sleep(0.05)
        return notes

    def verified(self) -> list[Verified]:
        end = time.monotonic() + LONG
        while not (found := self.pool.verified()):
            assert time.monotonic() < end
            self.pool.poll()
            time.sleep(0.05)
        return found

    def versions(self) -> list[int]:
        """The version of the weights that each worker holds."""
        return ray.get([self.workers[n].version.remote() for n in sorted(self.workers)], timeout=LONG)

    def poll_until_it_fails(self) -> None:
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            self.pool.poll()
            time.sleep(0.05)

    def hold_the_learners_weights(self) -> bool:
        actors = [self.rank, *self.workers.values()]
        return len(set(ray.get([a.digest.remote(SETTINGS.dtype) for a in actors], timeout=LONG))) == 1

    def received(self) -> list[int]:
        """Count the broadcasts that each worker has received to the end."""
        return ray.get([self.workers[n].received.remote() for n in sorted(self.workers)], timeout=LONG)

    def end(self) -> None:
        for actor in (self.rank, *self.workers.values()):
            ray.kill(actor)


def _remote(actor: type, **options: Any) -> Any:
    return as_remote(actor).options(num_cpus=0, max_concurrency=4, **options)


def _config(deadlines: DeadlinesConfig, folder: Path = Path("never-made"), **learner: Any) -> Config:
    run = {"folder": folder}
    sections = {
        "run": run,
        "model": {"path": "builtin:quickstart"},
        "data": {"source": "synthetic"},
        "learner": learner,
    }
    return Config.model_validate(sections | {"deadlines": deadlines})


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)  # workers cannot import tests
    with local_ray(tmp_path_factory.mktemp("ray"), dashboard=False, object_store_bytes=256 << 20):
        yield
    ray.cloudpickle.unregister_pickle_by_value(here)


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

    fleet.pool.hold()
    assert fleet.update() == []
    assert fleet.versions() == [2, 2]
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
    assert fleet.versions() == [4, 4]
    assert ray.get(fleet.workers["rollout-0"].begun.remote(), timeout=LONG) == [2, 4]
    _check_that_weights_die_with_all_that_hold_them(fleet)


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
        spawned.append(_remote(Parent, **placement.options(actor)).remote())
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
        ranks.append(_remote(Rank).remote(fates[rank]))
        return ranks[-1]

    config = _config(DeadlinesConfig(weights_seconds=1.0), tmp_path, ranks=2)
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
        ranks.append(_remote(Rank).remote("" if ranks else "stop"))
        return ranks[-1]

    deadlines = DeadlinesConfig(heartbeat_seconds=2.0, start_seconds=LONG)
    learner = LearnerGroup(_config(deadlines, tmp_path), spawn, lambda: None)
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
