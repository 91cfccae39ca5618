from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from reward_service.http.dispatch import Dispatcher, Done, DrainingError, OverloadedError, Submission
from reward_service.http.queue import FairQueue, QueueFullError
from sandbox.cancellation import Cancellation


def taken(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def test_owners_take_turns_however_much_each_has() -> None:
    queue: FairQueue[str] = FairQueue(100)
    queue.put("giant", [f"g{i}" for i in range(6)])
    assert queue.take() == "g0"
    queue.put("small", ["s0", "s1"])
    queue.put("one", ["o0"])
    assert taken(queue) == ["g1", "s0", "o0", "g2", "s1", "g3", "g4", "g5"]
    assert len(queue) == 0


def test_the_bound_counts_items_and_a_refusal_leaves_nothing() -> None:
    queue: FairQueue[str] = FairQueue(3)
    queue.put("a", ["1", "2"])
    with pytest.raises(QueueFullError, match="2 programs wait, of 3"):
        queue.put("b", ["3", "4"])
    queue.put("b", ["3"])
    assert taken(queue) == ["1", "3", "2"]
    with pytest.raises(ValueError, match="at least one"):
        FairQueue(0)


def test_an_owner_can_be_forgotten() -> None:
    queue: FairQueue[str] = FairQueue(4)
    queue.put("a", ["1", "2"])
    queue.put("b", ["3"])
    assert (queue.drop("a"), queue.drop("a"), len(queue)) == (2, 0, 1)
    queue.put("a", ["4", "5", "6"])
    assert taken(queue) == ["3", "4", "5", "6"]


class NoMeter:
    def waited(self, seconds: float) -> None: ...
    def ran(self, seconds: float) -> None: ...


class Gate:
    """Jobs that wait until they may end, and a record of those that began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self._open = threading.Event()

    def job(self, name: str) -> Callable[[Cancellation], str]:
        def run(_: Cancellation) -> str:
            self.began.append(name)
            assert self._open.wait(30)
            return name

        return run

    def open(self) -> None:
        self._open.set()


async def all_of(submission: Submission[str], deadline: float = 1e9) -> list[Done[str]]:
    return [done async for done in submission.outcomes(deadline)]


def dispatched(test: Callable[[Dispatcher, Gate], Awaitable[Any]], capacity: int = 10) -> None:
    async def run() -> None:
        gate = Gate()
        dispatcher = Dispatcher(1, capacity, NoMeter(), clock=lambda: 0.0)
        try:
            await asyncio.wait_for(test(dispatcher, gate), 30)
        finally:
            gate.open()
            dispatcher.close()

    asyncio.run(run())


def test_a_small_request_does_not_wait_for_a_giant_one() -> None:
    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        giant = dispatcher.submit([gate.job(f"giant{i}") for i in range(5)])
        small = dispatcher.submit([gate.job("small")])
        gate.open()
        assert [done.result for done in await all_of(small)] == ["small"]
        assert [done.index for done in await all_of(giant)] == [0, 1, 2, 3, 4]
        assert gate.began == ["giant0", "giant1", "small", "giant2", "giant3", "giant4"]

    dispatched(test)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        dispatcher.submit([gate.job("a"), gate.job("b"), gate.job("c")])
        assert dispatcher.depth == 2
        with pytest.raises(OverloadedError) as refused:
            dispatcher.submit([gate.job("d"), gate.job("e")])
        assert refused.value.retry_after == 1
        dispatcher.submit([gate.job("d")])
        assert dispatcher.depth == 3

    dispatched(test, capacity=3)


def test_closing_a_request_takes_its_jobs_out_of_the_queue() -> None:
    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        left = dispatcher.submit([gate.job("left0"), gate.job("left1")])
        stays = dispatcher.submit([gate.job("stays")])
        left.close()
        assert not await dispatcher.idle(0.0)
        gate.open()
        await all_of(stays)
        stays.close()
        assert await dispatcher.idle(1e9)
        assert gate.began == ["left0", "stays"]

    dispatched(test)


def test_closing_a_request_tells_its_jobs_that_run() -> None:
    told = threading.Event()

    def until_told(cancellation: Cancellation) -> str:
        with cancellation.ending_by(told.set):
            assert told.wait(30)
        return "ended"

    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        leaves = dispatcher.submit([until_told])
        stays = dispatcher.submit([gate.job("stays")])
        gate.open()
        leaves.close()
        assert [done.result for done in await all_of(stays)] == ["stays"]
        assert told.is_set()

    dispatched(test)


def test_an_error_of_a_job_is_told_and_the_others_go_on() -> None:
    def fails(_: Cancellation) -> str:
        raise ValueError("malformed")

    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        gate.open()
        failed, fine = await all_of(dispatcher.submit([fails, gate.job("fine")]))
        assert (str(failed.error), failed.result) == ("malformed", None)
        assert (fine.error, fine.result) == (None, "fine")

    dispatched(test)


def test_the_deadline_and_the_end_of_the_service_end_the_wait() -> None:
    async def test(dispatcher: Dispatcher, gate: Gate) -> None:
        assert await all_of(dispatcher.submit([gate.job("a")]), deadline=0.0) == []
        waits = asyncio.ensure_future(all_of(dispatcher.submit([gate.job("b")])))
        dispatcher.drain()
        with pytest.raises(DrainingError):
            dispatcher.submit([gate.job("c")])
        dispatcher.expire()
        assert await waits == []

    dispatched(test)
