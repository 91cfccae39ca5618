"""Recovery of a run's streams: simulated runs on a real server that loses data again and again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from common.config import Config, StreamsConfig
from common.records import PromptGroup, Purpose, Task, TestCase, TrajectoryGroup
from common.streams import DEAD_LETTERS, PROMPTS, TRAJECTORIES, Consumer, Patience, Streams, open_client
from learner.collector import Collector
from learner.progress import Progress
from learner.source import Lacking, TrajectorySource
from orchestrator.admission import Admission
from orchestrator.curriculum import Curriculum
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.recovery import Recovery
from tests.learner.learner_tools import make_group

STEPS, GROUPS, CHECKPOINT_EVERY = 9, 2, 3
LONG = 30.0
TASK = Task(id="t", prompt="p", tests=(TestCase(call="f()", expected="1"),))


@dataclass
class Server:
    """A server that can be set back to what it held a while ago, as a fail-over to a replica that lags does."""

    redis: EmbeddedRedis
    folder: Path

    def keep(self) -> None:
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        shutil.copytree(self.folder / "appendonlydir", self.folder / "kept")

    def kill(self, set_back: bool) -> None:
        os.kill(self.redis.pid, signal.SIGKILL)
        if set_back:
            shutil.rmtree(self.folder / "appendonlydir")
            shutil.copytree(self.folder / "kept", self.folder / "appendonlydir")
        while self.redis.keep_running() is None:
            time.sleep(0.01)

    def streams(self, run_id: str, meanwhile: Callable[[], None] = lambda: None) -> Streams:
        patience = Patience(LONG, meanwhile=meanwhile)
        return Streams(open_client(self.redis.url), run_id, StreamsConfig(claim_seconds=0.2), patience)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("redis")
    with EmbeddedRedis(folder) as running:
        yield Server(running, folder)


@dataclass
class LearnerProcess:
    """The learner's counts and its end of the trajectories; checkpoints are copies of the counts."""

    server: Server
    run_id: str
    staleness: int
    meanwhile: Callable[[], None]
    progress: Progress = field(default_factory=Progress)
    kept: Progress = field(default_factory=Progress)
    when_asked: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin, or begin again from the last checkpoint."""
        self.progress, self.interrupted = replace(self.kept), threading.Event()
        collector = Collector(GROUPS, self.staleness, "wait", "skip", self.progress)
        streams = self.server.streams(self.run_id, self.meanwhile)
        consumer = Consumer(streams, TRAJECTORIES, "learner-0")
        self.source = TrajectorySource(streams, consumer, collector, LONG, self.interrupted)

    def kill(self) -> None:
        """End it, with what it reads ahead, but for what it has not acknowledged."""
        self.interrupted.set()
        while self.source.next_groups() is not None:
            pass

    def lacking(self, admitted: int) -> Lacking:
        self.when_asked()
        return self.source.lacking(admitted)

    def step(self) -> list[TrajectoryGroup]:
        groups = self.source.next_groups()
        assert groups is not None
        self.progress.version += 1
        return list(groups)

    def checkpoint(self) -> None:
        self.kept = replace(self.progress)
        self.source.checkpointed()


@dataclass
class Run:
    """The parts of a run that recovery is about, with one worker for rollouts and rewards."""

    server: Server
    run_id: str
    staleness: int
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = Config.model_validate(
            {
                "run": {"steps": STEPS},
                "model": {"path": "builtin:quickstart"},
                "data": {"source": "synthetic"},
                "learner": {"groups_per_step": GROUPS},
                "admission": {"max_staleness": self.staleness},
            }
        )
        self.streams = self.server.streams(self.run_id)
        self.streams.create()
        self.learner = LearnerProcess(self.server, self.run_id, self.staleness, self.check)
        self.learner.start()
        self.admission = Admission(config, self.run_id, self.streams, Curriculum([TASK], 0))
        self.evaluator = Evaluator(config, self.run_id, self.streams, [TASK] * 3)
        self.recovery = Recovery(self.streams, self.admission, self.learner, self.notes.append, lambda: None)
        self.recovery.begin()
        self.worker = Consumer(self.server.streams(self.run_id, self.check), PROMPTS, "rollout-0")

    def check(self) -> None:
        if threading.current_thread() is threading.main_thread():  # the learner reads ahead in another
            self.recovery.check()

    def tick(self) -> None:
        self.check()
        self.admission.admit(self.learner.progress.version)

    def work(self) -> None:
        """Complete and score all prompts, by the weights of now."""
        version = self.learner.progress.version
        end = time.monotonic() + LONG
        while self.streams.depth(PROMPTS) and time.monotonic() < end:
            for delivery, prompt in self.worker.decode(PromptGroup, self.worker.read(8, 0.01)):
                if prompt.purpose is Purpose.TRAIN:
                    group = make_group(prompt.index, version=version)
                else:
                    group = TrajectoryGroup.from_lost(prompt, "rollout-0", "scored elsewhere")
                self.worker.publish_and_acknowledge(delivery, group, LONG)


def emptied(run: Run) -> None:
    run.streams.patience.call("FLUSHALL", run.streams.client.flushall)


def evicted(run: Run) -> None:
    run.streams.patience.call("DEL", lambda: run.streams.client.delete(run.streams.key(TRAJECTORIES)))


def killed(run: Run) -> None:
    run.server.kill(set_back=False)


def set_back(run: Run) -> None:
    run.server.kill(set_back=True)


def learner_killed(run: Run) -> None:
    run.learner.kill()
    run.learner.start()
    run.recovery.learner_restarted()


def nothing(run: Run) -> None:
    pass


@pytest.mark.parametrize("staleness", [0, 2])
@pytest.mark.parametrize("seed", [0, 8])
def test_whatever_is_lost_every_group_is_trained_once_by_the_weights_of_its_turn(
    server: Server, run_id: str, seed: int, staleness: int
) -> None:
    chance = random.Random(seed)
    faults = [emptied, evicted, killed, set_back, learner_killed, nothing, nothing]
    run = Run(server, run_id, staleness)
    trained: dict[int, list[tuple[int, int]]] = {}
    server.keep()
    while (version := run.learner.progress.version) < STEPS:
        if version % CHECKPOINT_EVERY == 0:
            run.learner.checkpoint()
        run.tick()
        for work in (run.work, lambda: None):  # lost after it was done, and before it was done again
            work()
            chance.choice(faults)(run)
            if chance.random() < 0.3:
                server.keep()
        run.tick()
        run.work()
        version = run.learner.progress.version
        groups = run.learner.step()
        trained[version] = [(group.prompt.index, group.rollouts.version) for group in groups if group.rollouts]
    run.learner.checkpoint()
    run.recovery.check()
    taken = [index for version in range(STEPS) for index, _ in trained[version]]
    assert sorted(taken) == list(range(STEPS * GROUPS))
    if staleness == 0:
        assert taken == sorted(taken)
    for version in range(STEPS):
        ages = {version - sampled for _, sampled in trained[version]}
        assert max(ages) <= staleness
        assert staleness > 0 or ages == {0}, "else the weights would be others than those of an undisturbed run"
    assert run.streams.depth(DEAD_LETTERS) == 0
    assert run.admission.ledger() == run.admission.ledger(run.learner.progress)


def test_an_evaluation_whose_tasks_are_lost_sends_for_the_rest_again(server: Server, run_id: str) -> None:
    run = Run(server, run_id, 0)
    run.evaluator.begin(0)
    emptied(run)
    run.check()
    assert run.evaluator.poll() is None
    run.work()
    result = run.evaluator.poll()
    assert result is not None
    assert result.version == 0
    assert run.notes


def test_a_loss_in_the_middle_of_recovery_is_made_good_too(server: Server, run_id: str) -> None:
    run = Run(server, run_id, 0)
    run.tick()
    emptied(run)
    run.learner.when_asked = lambda: emptied(run)
    run.tick()
    run.learner.when_asked = lambda: None
    run.tick()
    run.work()
    assert sorted(group.prompt.index for group in run.learner.step()) == list(range(GROUPS))
