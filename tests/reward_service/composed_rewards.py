"""Reward functions of every kind, as a user would write them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence

from common.records import Task
from reward_service.user_rewards import Completion, UnknownRewardError


def rank(task: Task, completions: Sequence[Completion]) -> list[float]:
    """The share of a group's texts that are shorter: what no function of one completion can tell."""
    lengths = [len(completion.text) for completion in completions]
    return [sum(other < length for other in lengths) / len(lengths) for length in lengths]


async def asked_rank(task: Task, completions: Sequence[Completion]) -> list[float]:
    await asyncio.sleep(0)
    return rank(task, completions)


def level(task: Task, completion: Completion) -> float:
    """A column of the task's row."""
    value = task.metadata["level"]
    assert isinstance(value, int)
    return float(value)


class Meeting:
    """Ends for none of a group's three completions before all of them are there."""

    def __init__(self) -> None:
        self._there = 0

    async def __call__(self, task: Task, completion: Completion) -> float:
        self._there += 1
        while self._there < 3:
            await asyncio.sleep(0.001)
        return float(len(completion.text))


meeting = Meeting()


async def never(task: Task, completion: Completion) -> float:
    await asyncio.Event().wait()
    return 0.0


async def late_judge(task: Task, completion: Completion) -> float:
    raise TimeoutError("the judge is down")


def unknown_of_a(task: Task, completion: Completion) -> float:
    if completion.text == "a":
        raise UnknownRewardError("the judge is down")
    return 1.0


async def unknown_group(task: Task, completions: Sequence[Completion]) -> list[float]:
    raise UnknownRewardError("the judge is down")


def too_few(task: Task, completions: Sequence[Completion]) -> list[float]:
    return [1.0]


def one_number(task: Task, completions: Sequence[Completion]) -> float:
    return 1.0


def yields_and_raises(task: Task, completions: Sequence[Completion]) -> Iterator[float]:
    yield 1.0
    raise KeyError("judge")


def yields_and_cannot_tell(task: Task, completions: Sequence[Completion]) -> Iterator[float]:
    yield 1.0
    raise UnknownRewardError("the judge is down")


async def stops_the_loop(task: Task, completion: Completion) -> float:
    asyncio.get_running_loop().stop()
    return 2.0


async def exits(task: Task, completion: Completion) -> float:
    sys.exit(3)


def of_another_loop(task: Task, completion: Completion) -> asyncio.Future[float]:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    return future
