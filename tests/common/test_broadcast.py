"""Weights through a real process group: gloo on the loopback interface, every receiver in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from torch import Tensor

from common.weights.broadcast import Receiver, Sender
from common.weights.buckets import fill_buckets, plan_layout, read_buckets
from common.weights.layout import Manifest
from common.weights.location import Location
from common.weights.messages import BroadcastError, Plan
from tests.forkserver import forkserver

HERE = Location("node", "127.0.0.1", "")
#: Large enough that no socket buffers the rest of a broadcast; six buckets.
SHAPES = {f"p{i}": (1 << 20, 2 + i % 2) for i in range(6)}
BUCKET_BYTES = 8 << 20
#: For what has to pass, because nothing else tells of a process that hangs or never comes.
SHORT = 5.0
LONG = 60.0


def weights(version: int) -> dict[str, Tensor]:
    return {name: torch.full(shape, version + i / 8) for i, (name, shape) in enumerate(SHAPES.items())}


def manifest(version: int) -> Manifest:
    sent = weights(version)
    return Manifest(version, plan_layout(sent.items(), dict.fromkeys(sent, torch.float32), BUCKET_BYTES))


class Worker:
    """A process that receives when told to; ``signal_at`` (bucket, signal) it sends itself in the middle."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = forkserver()
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker_main, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        assert self.result() == "ready"

    def receive(self, plan: Plan, deadline: float, signal_at: tuple[int, int] | None = None) -> None:
        self._pipe.send((plan, 1 + plan.members.index(self.name), deadline, signal_at))

    def result(self) -> Any:
        """The version and the first value of each parameter, or the text of the error."""
        assert self._pipe.poll(LONG), f"{self.name} gave no answer"
        return self._pipe.recv()

    def end(self) -> None:
        self.process.kill()
        self.process.join(LONG)


def worker_main(pipe: Connection) -> None:
    torch.set_num_threads(1)
    receiver = Receiver(HERE)
    pipe.send("ready")
    while True:
        plan, rank, deadline, signal_at = pipe.recv()
        try:
            with receiver.receiving(plan, rank, deadline) as (manifest, buckets):
                found = {
                    name: tensor.flatten()[0].item()
                    for name, tensor in read_buckets(manifest, disturbed(buckets, signal_at))
                }
            pipe.send((manifest.version, found))
        except BroadcastError as error:
            pipe.send(str(error))


def disturbed(buckets: Iterator[Tensor], signal_at: tuple[int, int] | None) -> Iterator[Tensor]:
    for number, bucket in enumerate(buckets):
        yield bucket
        if signal_at is not None and number == signal_at[0]:
            os.kill(os.getpid(), signal_at[1])


@pytest.fixture
def workers() -> Iterator[Callable[..., list[Worker]]]:
    started: list[Worker] = []

    def start(*names: str) -> list[Worker]:
        started.extend(Worker(name) for name in names)
        for worker in started:
            worker.wait_until_ready()
        return started

    yield start
    for worker in started:
        worker.end()


def plan(sender: Sender, key: str, *members: str) -> Plan:
    return Plan(key, sender.address, members, "gloo")


def send(sender: Sender, where: Plan, version: int, deadline: float = LONG) -> int:
    """How many buckets the sender handed through."""
    what = manifest(version)
    return sum(1 for _ in sender.send(where, what, fill_buckets(what, weights(version).items()), deadline))


def received(version: int) -> tuple[int, dict[str, float]]:
    return version, {name: tensor[0, 0].item() for name, tensor in weights(version).items()}


def test_a_group_carries_update_after_update_until_its_members_change(
    workers: Callable[..., list[Worker]],
) -> None:
    both = workers("rollout-0", "rollout-1")
    sender = Sender(HERE, LONG)
    for version in (1, 2):
        where = plan(sender, "first", "rollout-0", "rollout-1")
        for worker in both:
            worker.receive(where, LONG)
        assert send(sender, where, version) == len(SHAPES)
        assert sender.failure is None
        assert [worker.result() for worker in both] == [received(version)] * 2
    alone = plan(sender, "second", "rollout-1")
    both[1].receive(alone, LONG)
    send(sender, alone, 3)
    assert sender.failure is None
    assert both[1].result() == received(3)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_receiver_lost_in_the_middle_is_named_and_the_others_get_the_weights_again(
    workers: Callable[..., list[Worker]], how: signal.Signals
) -> None:
    lost, kept = workers("rollout-0", "rollout-1")
    sender = Sender(HERE, LONG)
    where = plan(sender, "first", "rollout-0", "rollout-1")
    lost.receive(where, LONG, signal_at=(1, how))
    kept.receive(where, LONG)
    deadline = LONG if how is signal.SIGKILL else SHORT  # a dead process closes its connections
    assert send(sender, where, 1, deadline) == len(SHAPES), "the sender's own work went on"
    assert sender.failure is not None
    assert sender.failure.endswith("silent: rollout-0")
    assert isinstance(kept.result(), str)

    again = plan(sender, "second", "rollout-1")
    kept.receive(again, LONG)
    send(sender, again, 1)
    assert sender.failure is None
    assert kept.result() == received(1)


def test_a_receiver_that_never_comes_is_named_after_the_deadline(workers: Callable[..., list[Worker]]) -> None:
    (kept,) = workers("rollout-1")
    sender = Sender(HERE, LONG)
    where = plan(sender, "first", "rollout-0", "rollout-1")
    kept.receive(where, LONG)
    assert send(sender, where, 1, SHORT) == len(SHAPES)
    assert sender.failure == "missed its deadline: not arrived: rollout-0"
    assert kept.result() == sender.failure


def test_a_broadcast_that_is_called_off_ends_for_everybody(workers: Callable[..., list[Worker]]) -> None:
    (kept,) = workers("rollout-1")
    sender = Sender(HERE, LONG)
    where = plan(sender, "first", "rollout-0", "rollout-1")
    kept.receive(where, LONG)
    ended = threading.Event()

    def call_off() -> None:
        while not ended.wait(0.05):
            sender.call_off("rollout-0: its process died")

    caller = threading.Thread(target=call_off)
    caller.start()
    assert send(sender, where, 1, LONG) == len(SHAPES)
    ended.set()
    caller.join(LONG)
    assert sender.failure == "rollout-0: its process died"
    assert kept.result() == sender.failure
