"""The rollout worker's loop: prompts in, completions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from common.records import NoiseKey, PromptGroup, RolloutGroup, TrajectoryGroup
from common.streams import Consumer, Delivery
from rollout_workers.requests import RequestError

_POLL_SECONDS = 0.5


class Generator(Protocol):
    def check(self, prompt: PromptGroup) -> None:
        """Raise RequestError for a group that can never be denoised."""

    def generate(self, prompts: PromptQueue) -> Iterator[RolloutGroup]:
        """Take and denoise the next group and those that can join it; waits for weights new enough."""


class RolloutLoop:
    """Denoises prompt groups and hands each over as soon as its last completion is there."""

    def __init__(
        self, name: str, consumer: Consumer, generator: Generator, deliveries: int, deadline: float
    ) -> None:
        self._name = name
        self._consumer = consumer
        self._generator = generator
        self._deliveries = deliveries
        self._deadline = deadline

    def run(
        self,
        stopping: Callable[[], bool],
        on_group: Callable[[RolloutGroup], None],
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Work until told to stop; ``on_group`` hears of groups handed over, ``on_refused`` of groups given up."""

        def give_up(delivery: Delivery, prompt: PromptGroup, reason: str) -> None:
            lost = TrajectoryGroup.from_lost(prompt, self._name, reason)
            self._consumer.publish_and_acknowledge(delivery, lost, self._deadline)
            on_refused()

        prompts = PromptQueue(self._consumer, self._generator.check, give_up, self._deliveries, stopping)
        while not stopping():
            prompts.wait(_POLL_SECONDS)
            with self._consumer.holding(prompts.in_work):
                for group in self._generator.generate(prompts):
                    self._consumer.publish_and_acknowledge(prompts.done(group.prompt), group, self._deadline)
                    on_group(group)


class PromptQueue:
    """The inbox as prompt groups; what cannot become a rollout is sent away here.

    ``in_work`` lists the deliveries that were read and are not done. A group left over from a crash is served
    alone, so that one that kills its worker takes no other with it.
    """

    def __init__(
        self,
        consumer: Consumer,
        check: Callable[[PromptGroup], None],
        give_up: Callable[[Delivery, PromptGroup, str], None],
        deliveries: int,
        stopping: Callable[[], bool],
    ) -> None:
        self.in_work: list[Delivery] = []
        self._consumer = consumer
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
            self._accept(self._consumer.read(1, seconds))

    def peek(self) -> PromptGroup | None:
        """The next group, left where it is; None if there is none now or none should be taken."""
        while self._next is None and not self._alone and not self._stopping():
            found = self._consumer.read_more(1)
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
        for delivery, prompt in self._consumer.decode(PromptGroup, deliveries):
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
