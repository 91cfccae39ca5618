"""Evaluation rounds on a real server, whose tasks come back as workers would send them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.config import Config
from common.records import PromptGroup, Purpose, Task, TestCase, TrajectoryGroup
from common.streams import EVALUATIONS, PROMPTS, Consumer, Streams, connect
from orchestrator.evaluator import Evaluator, RunDeadlineError
from tests.learner.learner_tools import make_group, make_prompt

TASKS = [Task(id=f"t{i}", prompt="p", tests=(TestCase(call="f()", expected="1"),)) for i in range(3)]


@pytest.fixture
def streams(redis_url: str, run_id: str) -> Iterator[Streams]:
    client = connect(redis_url)
    made = Streams(client, run_id, config().streams)
    made.create()
    yield made
    client.close()


def config(**deadlines: float) -> Config:
    return Config.model_validate(
        {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}, "deadlines": deadlines}
    )


def take_prompts(streams: Streams) -> list[PromptGroup]:
    """What has been sent out since the last call."""
    prompts = [PromptGroup.decode(data) for data in streams.messages(PROMPTS)]
    streams.client.xtrim(streams.key(PROMPTS), maxlen=0)
    return prompts


def send_back(streams: Streams, prompts: list[PromptGroup], solved: bool = True) -> None:
    for prompt in prompts:
        scored = make_group(prompt.index, (1.0,) if solved else (0.0,), version=prompt.evaluation)
        rollouts = scored.rollouts.model_copy(update={"prompt": prompt}) if scored.rollouts else None
        group = TrajectoryGroup(prompt=prompt, rollouts=rollouts, scores=scored.scores, worker="w", seconds=0.0)
        streams.publish(EVALUATIONS, [group.encode()], deadline=5)


def test_a_round_ends_once_all_its_tasks_have_come_back(streams: Streams) -> None:
    evaluator = Evaluator(config(), "r", streams, TASKS)
    assert evaluator.version is None
    assert evaluator.poll() is None
    evaluator.begin(4)
    assert evaluator.version == 4
    prompts = take_prompts(streams)
    assert [(one.purpose, one.evaluation, one.min_version) for one in prompts] == [(Purpose.EVALUATION, 4, 4)] * 3
    earlier = [one.model_copy(update={"evaluation": 2}) for one in prompts]
    send_back(streams, [*earlier, *prompts[:2]])
    assert evaluator.poll() is None
    send_back(streams, prompts[2:], solved=False)
    result = evaluator.poll()
    assert result is not None
    assert (result.version, len(result.programs)) == (4, 3)
    assert result.pass_rate == pytest.approx(2 / 3)
    assert evaluator.version is None
    assert streams.depth(EVALUATIONS) == 0


def test_what_an_earlier_attempt_has_left_is_removed(streams: Streams) -> None:
    """A worker that restarts would wait for weights of its version, which training may never come to else."""
    evaluator = Evaluator(config(), "r", streams, TASKS)
    evaluator.begin(9)
    training = make_prompt(5, 2)
    streams.publish(PROMPTS, [training.encode(), b"garbage"], deadline=5)
    worker = Consumer(streams, PROMPTS, "rollout-0")
    worker.read_more(1)
    send_back(streams, [PromptGroup.decode(streams.messages(PROMPTS)[0])])

    Evaluator(config(), "r", streams, TASKS).clear()
    assert streams.messages(PROMPTS) == [training.encode(), b"garbage"]
    assert streams.depth(EVALUATIONS) == 0
    successor = Consumer(streams, PROMPTS, "rollout-0")
    found = [delivery for _ in range(3) for delivery in successor.read(1, 0.01)]
    assert [delivery.data for delivery in found] == [training.encode(), b"garbage"]


def test_what_redis_has_lost_goes_out_again(streams: Streams) -> None:
    evaluator = Evaluator(config(), "r", streams, TASKS)
    evaluator.begin(1)
    send_back(streams, take_prompts(streams)[:1])
    evaluator.poll()
    streams.empty()
    streams.renew()
    evaluator.poll()
    assert [one.index for one in take_prompts(streams)] == [1, 2]


def test_a_round_lasts_for_as_long_as_its_tasks_come_back(streams: Streams) -> None:
    """Training groups may go before them, and many tasks take their time."""
    evaluator = Evaluator(config(step_seconds=0.4), "r", streams, TASKS)
    evaluator.begin(1)
    time.sleep(0.5)
    send_back(streams, take_prompts(streams)[:1])
    assert evaluator.poll() is None


def test_a_round_that_is_given_up_leaves_nothing(streams: Streams) -> None:
    evaluator = Evaluator(config(), "r", streams, TASKS)
    evaluator.begin(1)
    evaluator.give_up()
    assert evaluator.version is None
    assert streams.messages(PROMPTS) == []


def test_a_round_has_a_deadline(streams: Streams) -> None:
    evaluator = Evaluator(config(step_seconds=0.001), "r", streams, TASKS)
    evaluator.begin(1)
    time.sleep(0.01)
    with pytest.raises(RunDeadlineError, match=r"version 1: 3 of 3 tasks did not come back"):
        evaluator.poll()
