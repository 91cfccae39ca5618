"""The rollout worker's loop: prompts in, completions out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from common.records import PromptGroup, RecordError, RolloutGroup, TrajectoryGroup
from common.streams import Delivery

_POLL_SECONDS = 0.5


class Inbox(Protocol):
    """The prompt stream."""

    def read(self, count: int, wait: float) -> list[Delivery]: ...
    def read_more(self, count: int) -> list[Delivery]: ...
    def holding(self, deliveries: Sequence[Delivery]) -> AbstractContextManager[None]: ...
    def bury(self, delivery: Delivery, reason: str) -> None: ...


class Outbox(Protocol):
    """Where results go; each call acknowledges its cause in the same transaction."""

    def rolled_out(self, cause: Delivery, group: RolloutGroup) -> None: ...
    def lost(self, cause: Delivery, group: TrajectoryGroup) -> None: ...


class Generator(Protocol):
    def generate(self, prompts: Sequence[PromptGroup]) -> list[RolloutGroup]:
        """Denoise all completions of the groups, in one or more batches; waits for weights new enough."""


class RolloutLoop:
    """Reads prompt groups worth ``batch_rows`` completions at a time and denoises them together."""

    def __init__(
        self, name: str, inbox: Inbox, outbox: Outbox, generator: Generator, batch_rows: int, deliveries: int
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._outbox = outbox
        self._generator = generator
        self._batch_rows = batch_rows
        self._deliveries = deliveries

    def run(self, stopping: Callable[[], bool], on_batch: Callable[[int, int, float], None]) -> None:
        """Work until told to stop; ``on_batch`` is told (groups, samples, seconds)."""
        while not stopping():
            batch = self._read_batch()
            if not batch:
                continue
            started = time.perf_counter()
            with self._inbox.holding([delivery for delivery, _ in batch]):
                groups = self._generator.generate([prompt for _, prompt in batch])
            for (delivery, _), group in zip(batch, groups, strict=True):
                self._outbox.rolled_out(delivery, group)
            samples = sum(prompt.group_size for _, prompt in batch)
            on_batch(len(batch), samples, time.perf_counter() - started)

    def _read_batch(self) -> list[tuple[Delivery, PromptGroup]]:
        """One group, then as many more of its size as fit; a group left over from a crash stays alone."""
        batch = self._accept(self._inbox.read(1, _POLL_SECONDS))
        if not batch or batch[0][0].attempt > 1:
            return batch
        more = self._batch_rows // batch[0][1].group_size - 1
        return batch + self._accept(self._inbox.read_more(more)) if more > 0 else batch

    def _accept(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, PromptGroup]]:
        accepted = []
        for delivery in deliveries:
            try:
                prompt = PromptGroup.decode(delivery.data)
            except RecordError as error:
                self._inbox.bury(delivery, str(error))
                continue
            if delivery.attempt > self._deliveries:
                reason = f"rollout did not finish in {self._deliveries} attempts"
                self._outbox.lost(delivery, TrajectoryGroup.from_lost(prompt, self._name, reason))
                continue
            accepted.append((delivery, prompt))
        return accepted
