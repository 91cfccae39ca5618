"""A learner of one rank and a pool of workers on a real Ray; the actors hold made-up weights."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from torch import Tensor

from benchmarks.weights import MadeUpRank, ReceivingWorker, Settings
from common.actors import ACTOR_VARIABLE, as_remote
from common.config import Config, DeadlinesConfig
from common.weights.comparison import HeldTensors
from common.weights.fence import VersionFence
from common.weights.loader import LocalWeights, WeightsLoader
from common.weights.location import Location
from common.weights.messages import Plan, Verification, WeightsUpdate
from common.weights.planner import Transport
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.pool import PoolSpec, WorkerPool
from orchestrator.fleet.weights_check import Verified

SETTINGS = Settings(mib=40, workers=2, dtype="float32", repeats=1)
LONG = 60.0


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
            self.workers[consumer] = remote(Worker).remote(weights_seconds, self.slow, self.grief, ranks)
            return self.workers[consumer]

        def spawn_rank(rank: int, name: str) -> Any:
            self.rank = remote(MadeUpRank).remote(SETTINGS, weights_seconds)
            return self.rank

        self.learner = LearnerGroup(make_config(deadlines), spawn_rank, lambda: None)
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


def remote(actor: type, **options: Any) -> Any:
    environment = {"env_vars": {ACTOR_VARIABLE: f"test/{actor.__name__}"}}  # it is forked from a server
    return as_remote(actor).options(num_cpus=0, max_concurrency=4, runtime_env=environment, **options)


def make_config(deadlines: DeadlinesConfig, folder: Path = Path("never-made"), **learner: Any) -> Config:
    run = {"folder": folder}
    sections = {
        "run": run,
        "model": {"path": "builtin:quickstart"},
        "data": {"source": "synthetic"},
        "learner": learner,
    }
    return Config.model_validate(sections | {"deadlines": deadlines})
