"""The reward loop between real streams: what becomes of a group, also when its worker is killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.config import Config, RewardConfig, StreamsConfig
from common.heartbeat import Heartbeat
from common.processes import die_with_parent
from common.records import (
    PromptGroup,
    Purpose,
    Rollout,
    RolloutGroup,
    Sampler,
    Score,
    Task,
    TestCase,
    TrajectoryGroup,
)
from common.streams import (
    CONSUMER_GROUPS,
    ROLLOUTS,
    TRAJECTORIES,
    Consumer,
    Delivery,
    StatedTerms,
    Streams,
    connect,
)
from reward_service.configured import make_scorer
from reward_service.reward_actor import RewardWorker
from reward_service.reward_loop import RewardLoop, score_rollouts
from reward_service.terms import reward_terms
from reward_service.user_rewards import Decoding
from tests.reward_service import composed_rewards, reward_process
from tests.reward_service.scoring_tools import FakeSandbox, value

PATIENCE_S = 60.0
SLEEPS = Task(
    id="sleeps",
    prompt="x",
    prefix="import time\ndef f():\n    time.sleep(1.0)\n",
    tests=(TestCase(call="f()", expected="1"),),
)


AT_ONCE = SLEEPS.model_copy(update={"prefix": "def f():\n"})


def rollouts(*texts: str, task: Task = SLEEPS) -> RolloutGroup:
    prompt = PromptGroup(
        run_id="r",
        index=3,
        seed=0,
        task=task,
        group_size=len(texts),
        min_version=0,
        sampler=Sampler(temperature=1.0, top_p=1.0, denoising_steps=1, completion_length=1),
    )
    samples = tuple(
        Rollout(
            sample=sample,
            completion_ids=(5,),
            text=text,
            end=1,
            step_map=(0,),
            logprobs=(0.0,),
            model_logprobs=(0.0,),
            forwards=sample + 1,
            versions=(0, 0),
        )
        for sample, text in enumerate(texts)
    )
    return RolloutGroup(
        prompt=prompt, prompt_ids=(1,), tokenizer_hash="h", version=0, worker="w", seconds=0.0, rollouts=samples
    )


@pytest.fixture
def streams(redis_url: str, run_id: str) -> Iterator[Streams]:
    client = connect(redis_url)
    made = Streams(client, run_id, StreamsConfig())
    made.create()
    yield made
    client.close()


def held_by(streams: Streams) -> list[bytes]:
    """The consumers that hold an unacknowledged group."""
    key, group = streams.key(ROLLOUTS), CONSUMER_GROUPS[ROLLOUTS]
    pending: Any = streams.client.xpending_range(key, group, min="-", max="+", count=9)
    return [entry["consumer"] for entry in pending]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_group_whose_worker_is_killed_is_scored_once_by_another(
    streams: Streams, redis_url: str, run_id: str
) -> None:
    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, reward_process.__file__, redis_url, run_id, name]
        return subprocess.Popen(command, cwd=Path(__file__).parents[2], preexec_fn=die_with_parent)

    streams.publish(ROLLOUTS, [rollouts("    return 1\n", "    return 2\n").encode()], deadline=1)
    first = start("first")
    wait_until(lambda: held_by(streams) == [b"first"], first)
    sandboxes = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait(PATIENCE_S)
    assert streams.depth(TRAJECTORIES) == 0
    assert held_by(streams) == [b"first"]
    assert not psutil.wait_procs(sandboxes, timeout=PATIENCE_S)[1]

    second = start("second")
    assert second.wait(PATIENCE_S) == 0
    (message,) = streams.messages(TRAJECTORIES)
    group = TrajectoryGroup.decode(message)
    assert (group.worker, group.lost) == ("second", None)
    assert [score.reward for score in group.scores] == [2.5, 0.5]
    assert streams.depth(ROLLOUTS) == 0
    assert held_by(streams) == []


class PaysNothing:
    def longest_seconds(self, completions: int) -> float:
        return PATIENCE_S

    def score_group(self, task: Task, completions: list[str], decodings: list[Decoding]) -> list[Score]:
        return [Score(reward=0.0, components={}, verdicts=()) for _ in completions]


def test_nobody_else_claims_a_group_that_waits_for_room(redis_url: str, run_id: str) -> None:
    """The trajectory stream stays full for several times as long as makes a message another worker's."""
    settings = StreamsConfig(claim_seconds=0.3, capacity=1)
    streams = Streams(connect(redis_url), run_id, settings)
    streams.create()
    streams.publish(TRAJECTORIES, [b"takes the only place"], deadline=1)
    streams.publish(ROLLOUTS, [rollouts("").encode()], deadline=1)
    consumer, neighbour = Consumer(streams, ROLLOUTS, "first"), Consumer(streams, ROLLOUTS, "neighbour")
    done: list[TrajectoryGroup] = []

    def publish(cause: Delivery, group: TrajectoryGroup) -> None:
        consumer.publish_and_acknowledge(cause, group, PATIENCE_S)

    loop = RewardLoop(
        "first", consumer, publish, lambda: True, PaysNothing(), Heartbeat(60.0), print, 3, shuffle=False
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(loop.run, lambda: bool(done), done.append)
        end = time.monotonic() + PATIENCE_S
        while held_by(streams) != [b"first"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        claimed = [delivery for _ in range(15) for delivery in neighbour.read(1, 0.1)]
        still_held = held_by(streams)
        streams.client.delete(streams.key(TRAJECTORIES))
        running.result(PATIENCE_S)
    assert (claimed, still_held) == ([], [b"first"])
    assert [(group.worker, group.lost) for group in done] == [("first", None)]


class Fails(PaysNothing):
    def score_group(self, task: Task, completions: list[str], decodings: list[Decoding]) -> list[Score]:
        raise ValueError("reward.functions: brevity raised ZeroDivisionError")


def test_a_group_that_cannot_be_scored_is_lost_with_the_reason(streams: Streams) -> None:
    streams.publish(ROLLOUTS, [rollouts("").encode(), b"no record"], deadline=1)
    consumer = Consumer(streams, ROLLOUTS, "w")
    done: list[TrajectoryGroup] = []
    heart = Heartbeat(60.0)

    def publish(cause: Delivery, group: TrajectoryGroup) -> None:
        assert held_by(streams) == [b"w"]
        consumer.publish_and_acknowledge(cause, group, 1)

    RewardLoop("w", consumer, publish, lambda: True, Fails(), heart, heart.note, 3, shuffle=False).run(
        lambda: bool(done), done.append
    )
    (message,) = streams.messages(TRAJECTORIES)
    group = TrajectoryGroup.decode(message)
    assert group == done[0]
    assert group.lost == "cannot be scored: reward.functions: brevity raised ZeroDivisionError"
    assert group.scores == ()
    beat = heart.beat()
    assert beat.notes == (f"a group is lost: {group.lost}",)
    assert (beat.what, beat.waits) == ("completed groups", True)


def test_the_worker_exports_what_its_scorer_counts_and_tells_rewards_how_texts_were_decoded(
    streams: Streams, redis_url: str, run_id: str
) -> None:
    config = Config.model_validate(
        {
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "rollout": {"decoder": "threshold"},
            "reward": {"sandbox_slots": 1, "hacking_probe": 0.0, "functions": [{"path": "tokens_per_forward"}]},
        }
    )
    StatedTerms(streams, reward_terms(config.reward), print, PATIENCE_S).state()
    worker = RewardWorker(config, run_id, redis_url, "reward-0")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.run)
        try:
            streams.publish(
                ROLLOUTS, [rollouts("    return 1\n", "    return 1\n", task=AT_ONCE).encode()], deadline=1
            )
            end = time.monotonic() + PATIENCE_S
            while not streams.depth(TRAJECTORIES):
                assert time.monotonic() < end
                time.sleep(0.01)
            with urllib.request.urlopen(f"http://{worker.metrics_address()}/metrics", timeout=10) as reply:
                text = reply.read().decode()
        finally:
            worker.stop()
        running.result(PATIENCE_S)
    group = TrajectoryGroup.decode(streams.messages(TRAJECTORIES)[0])
    assert [score.components["tokens_per_forward"] for score in group.scores] == [1.0, 0.5]
    labels = f'role="reward",run="{run_id}",worker="reward-0"'
    assert f"couplet_scoring_executions_total{{{labels}}} 1.0" in text
    assert f"couplet_scoring_slots_live{{{labels}}} 1.0" in text
    assert (
        f'couplet_scoring_tests_total{{role="reward",run="{run_id}",verdict="passed",worker="reward-0"}} 2.0'
        in text
    )


def test_an_evaluation_needs_no_reward_function() -> None:
    """A function that fails loses the groups of training; whether programs pass is known all the same."""
    path = f"{composed_rewards.__name__}:level"
    config = RewardConfig.model_validate({"functions": [{"path": path}], "sandbox_slots": 1, "hacking_probe": 0.0})
    scorer = make_scorer(config, FakeSandbox(value(1)))
    train = rollouts("    return 1\n", task=AT_ONCE)
    evaluate = train.model_copy(update={"prompt": train.prompt.model_copy(update={"purpose": Purpose.EVALUATION})})
    lost, passed = (score_rollouts(scorer, group, "w") for group in (train, evaluate))
    scorer.close()
    assert lost.lost == "cannot be scored: reward.functions: level raised KeyError: 'level'"
    assert ([score.passed for score in passed.scores], passed.lost) == ([True], None)
