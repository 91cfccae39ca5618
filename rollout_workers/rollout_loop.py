"""The rollout worker's loop: prompt groups in, rollout groups out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from common.heartbeat import Heartbeat
from common.records import NoiseKey, PromptGroup, RolloutGroup, TrajectoryGroup
from common.streams import Consumer, Delivery
from common.weights.fence import FenceTimeoutError
from rollout_workers.requests import RequestError

if TYPE_CHECKING:
    from rollout_workers.rollout_engine import RolloutEngine

_POLL_SECONDS = 0.5
#: How long a group waits for new weights that are on their way, before others are served that need none.
_PATIENCE_SECONDS = 5.0


class RolloutLoop:
    """Pushes prompt groups into the engine while it has room, and publishes each group when it is finished.

    A group that was not finished in ``deliveries`` attempts, or that cannot be denoised, is declared lost.
    Publishing waits at most ``deadline`` seconds for room. ``on_group`` is told of groups published, ``on_lost``
    of groups lost, and ``heart`` of what the loop waits for.
    """

    def __init__(
        self,
        name: str,
        consumer: Consumer,
        engine: RolloutEngine,
        deliveries: int,
        deadline: float,
        on_group: Callable[[RolloutGroup], None],
        on_lost: Callable[[], None],
        heart: Heartbeat | None = None,
    ) -> None:
        self._name = name
        self._consumer = consumer
        self._engine = engine
        self._deliveries = deliveries
        self._deadline = deadline
        self._on_group = on_group
        self._on_lost = on_lost
        self._heart = heart or Heartbeat(deadline)
        self._unfinished: list[Delivery] = []
        self._causes: dict[NoiseKey, Delivery] = {}
        self._next: PromptGroup | None = None
        self._early: list[PromptGroup] = []
        self._early_since = 0.0
        self._early_version = -1
        self._alone = False

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until told to stop, and then until no group that was begun is unfinished."""
        with self._consumer.holding(self._unfinished):
            while not stopping():
                self._heart.waiting("prompts")
                self._begin_batch()
                while self._engine.has_unfinished:
                    for group in self._engine.step():
                        self._publish(group)
                    if self._engine.has_unfinished and not stopping():
                        self._refill()

    def _begin_batch(self) -> None:
        """Begin with the group that could not join the last batch, or else with the next one that comes."""
        self._alone = False
        if self._next is None and not self._take_early():
            self._receive(self._consumer.read(1, _POLL_SECONDS))
        if self._next is not None and not self._engine.has_weights_for(self._next, self._patience):
            self._set_aside(self._next)
        elif self._next is not None:
            self._refill()

    def _refill(self) -> None:
        """Add groups while there is room and they can join the batch; claim none that would have to wait.

        A group left over from a crash is served alone, so that one that kills its worker takes no other with it.
        """
        while self._engine.has_room and not self._alone:
            if self._next is None and not self._take_early() and not self._receive(self._consumer.read_more(1)):
                return
            if self._next is not None:
                if not self._engine.accepts(self._next):
                    return
                self._alone = self._causes[self._next.noise_key(0)].attempt > 1
                self._engine.add(self._next)
                self._next = None

    @property
    def _patience(self) -> float:
        """Seconds to wait for the weights of a group: new ones are about to come, unless others wait already."""
        return 0.0 if self._early else _PATIENCE_SECONDS

    def _set_aside(self, group: PromptGroup) -> None:
        """Keep the next group until its weights come: those held may be those of others that are to go before.

        So it is while an evaluation holds weights.
        """
        if not self._early:
            self._wait_begins()
        self._early.append(group)
        self._next = None

    def _take_early(self) -> bool:
        """Make the first group next whose weights have come meanwhile; tell whether there is one.

        A learner that has fallen back publishes older weights first, for as long as it takes. Raises
        FenceTimeoutError where none come for ``deadline`` seconds.
        """
        if self._engine.version != self._early_version:
            self._wait_begins()
        ready = next((group for group in self._early if self._engine.has_weights_for(group)), None)
        if ready is not None:
            self._early.remove(ready)
            self._wait_begins()
            self._next = ready
        elif self._early and time.monotonic() - self._early_since > self._deadline:
            wanted = self._early[0].min_version
            raise FenceTimeoutError(f"waited {self._deadline:.0f} s for weights of version {wanted}")
        return ready is not None

    def _wait_begins(self) -> None:
        self._early_since, self._early_version = time.monotonic(), self._engine.version

    def _receive(self, deliveries: Sequence[Delivery]) -> bool:
        """Make what was delivered the next group, if it can be denoised; tell whether anything was delivered."""
        for delivery, prompt in self._consumer.decode(PromptGroup, deliveries):
            reason = self._why_lost(delivery, prompt)
            if reason is not None:
                lost = TrajectoryGroup.from_lost(prompt, self._name, reason)
                self._consumer.publish_and_acknowledge(delivery, lost, self._deadline)
                self._on_lost()
                continue
            if not self._is_copy(delivery, prompt):
                self._next = prompt
                self._unfinished.append(delivery)
            self._causes[prompt.noise_key(0)] = delivery
        return bool(deliveries)

    def _is_copy(self, delivery: Delivery, prompt: PromptGroup) -> bool:
        """Tell whether the group is at hand already, and then let this delivery of it stand for the one before.

        A group is sent again where Redis has lost it, and the delivery before may be gone.
        """
        before = self._causes.get(prompt.noise_key(0))
        if before is None:
            return False
        self._unfinished[self._unfinished.index(before)] = delivery
        self._consumer.acknowledge([before.id])
        return True

    def _why_lost(self, delivery: Delivery, prompt: PromptGroup) -> str | None:
        if delivery.attempt > self._deliveries:
            return f"rollout did not finish in {self._deliveries} attempts"
        try:
            self._engine.check(prompt)
        except RequestError as error:
            return f"task {prompt.task.id!r} cannot be denoised: {error}"
        return None

    def _publish(self, group: RolloutGroup) -> None:
        cause = self._causes.pop(group.prompt.noise_key(0))
        self._heart.waiting("room for a completed group in its stream")
        self._consumer.publish_and_acknowledge(cause, group, self._deadline)
        self._unfinished.remove(cause)
        self._on_group(group)
