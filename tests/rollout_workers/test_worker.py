from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from common.config import StreamsConfig
from common.records import PromptGroup, Purpose, RolloutGroup, TrajectoryGroup
from common.streams import (
    DEAD_LETTERS,
    EVALUATIONS,
    PROMPTS,
    ROLLOUTS,
    TRAJECTORIES,
    Consumer,
    Streams,
    connect,
)
from common.weights.fence import FenceTimeoutError, VersionFence
from rollout_workers import rollout_loop
from rollout_workers.rollout_engine import RolloutEngine
from rollout_workers.rollout_loop import RolloutLoop
from tests.rollout_workers.conftest import RecordingEngine, WatchedDenoiser, both_kinds_of_step

MakePrompt = Callable[..., PromptGroup]
DELIVERIES = 3


@dataclass
class Worker:
    """A rollout worker as the actor composes it, on real streams."""

    streams: Streams
    engine: RolloutEngine
    published: list[int] = field(default_factory=list)
    lost: int = 0
    deadline: float = 5.0

    def send(self, *prompts: PromptGroup) -> None:
        self.streams.publish(PROMPTS, [prompt.encode() for prompt in prompts], deadline=1)

    def crash_while_holding(self, count: int) -> None:
        assert Consumer(self.streams, PROMPTS, "rollout-0").read(count, 1)

    def work(self) -> None:
        """Start a worker and let it run until no prompt is left."""
        consumer = Consumer(self.streams, PROMPTS, "rollout-0")
        loop = RolloutLoop(
            "rollout-0", consumer, self.engine, DELIVERIES, self.deadline, self._on_group, self._on_lost
        )
        loop.run(lambda: self.streams.depth(PROMPTS) == 0)

    def _on_group(self, group: RolloutGroup) -> None:
        assert group.seconds > 0
        self.published.append(group.prompt.index)

    def _on_lost(self) -> None:
        self.lost += 1

    def rolled_out(self) -> list[int]:
        return [RolloutGroup.decode(data).prompt.index for data in self.streams.messages(ROLLOUTS)]


@pytest.fixture
def worker(redis_url: str, run_id: str, engine: RolloutEngine) -> Iterator[Worker]:
    client = connect(redis_url)
    streams = Streams(client, run_id, StreamsConfig(deliveries=DELIVERIES))
    streams.create()
    yield Worker(streams, engine)
    client.close()


@both_kinds_of_step
def test_prompts_become_rollouts_in_one_batch_that_is_refilled(
    worker: Worker, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    worker.send(*(make_prompt(i, 2) for i in range(7)))
    worker.work()
    assert denoising.batches == [14]
    assert sorted(worker.rolled_out()) == list(range(7))
    assert worker.published == worker.rolled_out()
    assert not worker.streams.depth(PROMPTS)


def test_a_worker_claims_no_more_than_it_has_room_for(
    worker: Worker, denoiser: WatchedDenoiser, make_prompt: MakePrompt
) -> None:
    """What it does not claim, its neighbours can denoise meanwhile."""
    worker.send(*(make_prompt(i, 4) for i in range(7)))
    claimed: list[int] = []

    def watch() -> None:
        info: Any = worker.streams.client.xinfo_groups(worker.streams.key(PROMPTS))
        claimed.append(int(info[0]["pending"]))

    denoiser.before_pass = watch
    worker.work()
    # Rows of about 13 tokens: three groups of four do not fill the 150, and the fourth waits with its last rows.
    assert claimed[0] == 4
    assert sorted(worker.rolled_out()) == list(range(7))


def test_a_group_that_cannot_join_the_batch_begins_the_next(
    worker: Worker, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    samplers = [make_prompt(0, temperature=temperature).sampler for temperature in (1.2, 0.0)]
    worker.send(*(make_prompt(i, 2, sampler=samplers[i // 2 % 2]) for i in range(6)))
    worker.work()
    assert denoising.batches == [4, 4, 4]
    assert sorted(worker.rolled_out()) == list(range(6))


@both_kinds_of_step
def test_left_over_prompts_run_alone_and_the_rest_together(
    worker: Worker, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    worker.send(*(make_prompt(i, 2) for i in range(5)))
    worker.crash_while_holding(2)
    worker.work()
    assert denoising.batches == [2, 2, 6]
    assert worker.rolled_out()[:2] == [0, 1]
    assert sorted(worker.rolled_out()) == list(range(5))


def test_a_prompt_that_cannot_be_denoised_is_declared_lost_at_once(
    worker: Worker, make_prompt: MakePrompt
) -> None:
    bad = make_prompt(0)
    bad = bad.model_copy(update={"task": bad.task.model_copy(update={"prompt": ""})})
    worker.send(bad, make_prompt(1))
    worker.work()
    (lost,) = [TrajectoryGroup.decode(data) for data in worker.streams.messages(TRAJECTORIES)]
    assert (lost.prompt.index, lost.rollouts) == (0, None)
    assert lost.lost is not None
    assert "the prompt is empty" in lost.lost
    assert worker.lost == 1
    assert worker.rolled_out() == [1]


@pytest.mark.parametrize(("purpose", "target"), [(Purpose.TRAIN, TRAJECTORIES), (Purpose.EVALUATION, EVALUATIONS)])
def test_prompt_that_killed_its_workers_is_declared_lost(
    worker: Worker, make_prompt: MakePrompt, purpose: Purpose, target: str
) -> None:
    poison = make_prompt(0, purpose=purpose)
    worker.send(poison, make_prompt(1))
    for _ in range(DELIVERIES):
        worker.crash_while_holding(1)
    worker.work()
    (lost,) = [TrajectoryGroup.decode(data) for data in worker.streams.messages(target)]
    assert (lost.prompt, lost.rollouts, lost.worker) == (poison, None, "rollout-0")
    assert lost.lost == "rollout did not finish in 3 attempts"
    assert worker.rolled_out() == [1]


def test_last_allowed_attempt_still_counts(worker: Worker, make_prompt: MakePrompt) -> None:
    worker.send(make_prompt(0))
    for _ in range(DELIVERIES - 1):
        worker.crash_while_holding(1)
    worker.work()
    assert worker.rolled_out() == [0]
    assert worker.streams.depth(TRAJECTORIES) == 0


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("garbage", [b"\xc1", b"\x81\x90\x01", b""])
def test_undecodable_message_is_dead_lettered_and_its_neighbours_are_served(
    worker: Worker, make_prompt: MakePrompt, place: int, garbage: bytes
) -> None:
    messages = [make_prompt(0).encode(), make_prompt(1).encode()]
    messages.insert(place, garbage)
    worker.streams.publish(PROMPTS, messages, deadline=1)
    worker.work()
    assert worker.rolled_out() == [0, 1]
    assert worker.streams.messages(DEAD_LETTERS) == [garbage]


def test_groups_whose_weights_have_not_come_let_others_go_before(
    worker: Worker, fence: VersionFence, make_prompt: MakePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation holds the weights that it is of, and its tasks must not wait for newer ones behind others."""
    monkeypatch.setattr(rollout_loop, "_PATIENCE_SECONDS", 0.01)
    worker.send(*(make_prompt(i, 2, min_version=9) for i in (0, 1)), *(make_prompt(i, 2) for i in (2, 3)))

    def take_new_weights() -> None:
        while sorted(worker.published) != [2, 3]:
            time.sleep(0.01)
        with fence.writing(9, 5.0):
            pass

    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(take_new_weights)
        worker.work()
        taken.result(5.0)
    assert sorted(worker.published[:2]) == [2, 3]
    assert sorted(worker.published[2:]) == [0, 1]


def test_groups_that_a_learner_which_fell_back_has_left_wait_while_it_catches_up(
    worker: Worker, fence: VersionFence, make_prompt: MakePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may take longer than any one version; nobody hangs, and no group is to be lost for it."""
    monkeypatch.setattr(rollout_loop, "_PATIENCE_SECONDS", 0.01)
    worker.deadline = 2.0
    worker.send(make_prompt(0, 2, min_version=9))

    def catch_up() -> None:
        for version in (6, 7, 8, 9):
            time.sleep(0.6)
            with fence.writing(version, 5.0):
                pass

    with ThreadPoolExecutor(1) as thread:
        caught_up = thread.submit(catch_up)
        worker.work()
        caught_up.result(5.0)
    assert worker.published == [0]


def test_batch_that_fails_stays_with_its_worker(worker: Worker, make_prompt: MakePrompt) -> None:
    worker.send(make_prompt(0, min_version=9), make_prompt(1))
    with pytest.raises(FenceTimeoutError):
        worker.work()
    assert worker.streams.depth(PROMPTS) == 2
    assert worker.published == worker.rolled_out() == []
