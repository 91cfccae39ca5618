"""The rollout worker's loop: prompts in, completions out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from common.records import NoiseKey, PromptGroup, RecordError, RolloutGroup, TrajectoryGroup
from common.streams import Delivery
from rollout_workers.requests import RequestError

_POLL_SECONDS = 0.5


class Inbox(Protocol):
    """The prompt stream."""

    def read(self, count: int, wait: float) -> list[Delivery]: ...
    def read_more(self, count: int) -> list[Delivery]: ...
    def holding(self, deliveries: Collection[Delivery]) -> AbstractContextManager[None]: ...
    def bury(self, delivery: Delivery, reason: str) -> None: ...


class Outbox(Protocol):
    """Where results go; each call acknowledges its cause in the same transaction."""

    def rolled_out(self, cause: Delivery, group: RolloutGroup) -> None: ...
    def lost(self, cause: Delivery, group: TrajectoryGroup) -> None: ...


class Generator(Protocol):
    def check(self, prompt: PromptGroup) -> None:
        """Raise RequestError for a group that can never be denoised."""

    def generate(self, prompts: PromptQueue) -> Iterator[RolloutGroup]:
        """Take and denoise the next group and those that can join it; waits for weights new enough."""


class RolloutLoop:
    """Denoises prompt groups and hands each over as soon as its last completion is there."""

    def __init__(self, name: str, inbox: Inbox, outbox: Outbox, generator: Generator, deliveries: int) -> None:
        self._name = name
        self._inbox = inbox
        self._outbox = outbox
        self._generator = generator
        self._deliveries = deliveries

    def run(
        self,
        stopping: Callable[[], bool],
        on_group: Callable[[RolloutGroup], None],
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Work until told to stop; ``on_group`` hears of groups handed over, ``on_refused`` of groups given up."""

        def give_up(delivery: Delivery, prompt: PromptGroup, reason: str) -> None:
            self._outbox.lost(delivery, TrajectoryGroup.from_lost(prompt, self._name, reason))
            on_refused()

        prompts = PromptQueue(self._inbox, self._generator.check, give_up, self._deliveries, stopping)
        while not stopping():
            prompts.wait(_POLL_SECONDS)
            with self._inbox.holding(prompts.in_work):
                for group in self._generator.generate(prompts):
                    self._outbox.rolled_out(prompts.done(group.prompt), group)
                    on_group(group)


class PromptQueue:
    """The inbox as prompt groups; what cannot become a rollout is sent away here.

    ``in_work`` lists the deliveries that were read and are not done. A group left over from a crash is served
    alone, so that one that kills its worker takes no other with it.
    """

    def __init__(
        self,
        inbox: Inbox,
        check: Callable[[PromptGroup], None],
        give_up: Callable[[Delivery, PromptGroup, str], None],
        deliveries: int,
        stopping: Callable[[], bool],
    ) -> None:
        self.in_work: list[Delivery] = []
        self._inbox = inbox
        self._check = check
        self._give_up = give_up
        self._deliveries = deliveries
        self._stopping = stopping
        self._next: PromptGroup | None = None
        self._alone = False
        self._causes: dict[NoiseKey, Delivery] = {}

    def wait(self, seconds: float) -> None:
        """Wait for a group with which a batch can begin, unless one is there already."""
        if self._next is None:
            self._alone = False
            self._accept(self._inbox.read(1, seconds))

    def peek(self) -> PromptGroup | None:
        """The next group, left where it is; None if there is none now or none should be taken."""
        while self._next is None and not self._alone and not self._stopping():
            found = self._inbox.read_more(1)
            if not found:
                break
            self._accept(found)
        return self._next

    def take(self) -> PromptGroup:
        """Remove the group that :meth:`peek` showed."""
        prompt, self._next = self._next, None
        if prompt is None:
            raise LookupError("take without peek")
        return prompt

    def done(self, prompt: PromptGroup) -> Delivery:
        """The delivery that brought the group, which is in work no longer."""
        delivery = self._causes.pop(prompt.noise_key(0))
        self.in_work.remove(delivery)
        return delivery

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                prompt = PromptGroup.decode(delivery.data)
            except RecordError as error:
                self._inbox.bury(delivery, str(error))
                continue
            if delivery.attempt > self._deliveries:
                self._give_up(delivery, prompt, f"rollout did not finish in {self._deliveries} attempts")
                continue
            try:
                self._check(prompt)
            except RequestError as error:
                self._give_up(delivery, prompt, f"task {prompt.task.id!r} cannot be denoised: {error}")
                continue
            self._next = prompt
            self._alone = delivery.attempt > 1
            self._causes[prompt.noise_key(0)] = delivery
            self.in_work.append(delivery)
