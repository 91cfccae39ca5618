"""Held-out evaluation through the same streams and workers as training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from common.config import Config
from common.errors import RunFailedError
from common.records import PromptGroup, Purpose, RecordError, RolloutGroup, Task, TrajectoryGroup
from common.streams import EVALUATIONS, PROMPTS, ROLLOUTS, Consumer, Deadline, Streams
from orchestrator.rounds import Evaluation, evaluate

_READ_COUNT = 64


class RunDeadlineError(RunFailedError, TimeoutError):
    """A part of the run made no progress before its deadline; the message names it."""


@dataclass
class _Round:
    """A round that is under way: the scored groups that have come, by task, and the state of the streams then.

    ``end``: the deadline of the next of them.
    """

    version: int
    end: Deadline
    renewals: int
    found: dict[int, TrajectoryGroup] = field(default_factory=dict)


class Evaluator:
    """Send the held-out ``tasks`` out as evaluation groups and collect their rewards, one round at a time."""

    def __init__(self, config: Config, run_id: str, streams: Streams, tasks: Sequence[Task]) -> None:
        self._config = config
        self._run_id = run_id
        self._streams = streams
        self._consumer = Consumer(streams, EVALUATIONS, "orchestrator")
        self._round: _Round | None = None
        self.tasks = tasks

    @property
    def version(self) -> int | None:
        """The version whose round is under way; None while there is none."""
        return self._round.version if self._round is not None else None

    def clear(self) -> None:
        """Remove the tasks that an earlier attempt, or a round that was given up, has left on their way.

        They may be of weights that the learner does not have yet, for which workers would wait, or never has.
        """
        for stream, kind in ((PROMPTS, PromptGroup), (ROLLOUTS, RolloutGroup), (EVALUATIONS, TrajectoryGroup)):
            self._streams.remove(stream, partial(_is_evaluation, kind))

    def begin(self, version: int) -> None:
        """Send all tasks out for the weights of ``version``."""
        self._round = _Round(version, self._deadline(), self._streams.renewals)
        self._send(range(len(self.tasks)))

    def give_up(self) -> None:
        """End the round under way, and call its tasks back."""
        self._round = None
        self.clear()

    def poll(self) -> Evaluation | None:
        """Collect what has come back; return the result once all has.

        Training groups that were admitted before go before its tasks, and there may be many of these, so the
        deadline is that of each. Raises :class:`RunDeadlineError` if none comes in time.
        """
        if self._round is None:
            return None
        version, found, count = self._round.version, self._round.found, len(self.tasks)
        if self._streams.renewals != self._round.renewals:
            self._round.renewals = self._streams.renewals
            self._send([index for index in range(count) if index not in found])
        deliveries = self._consumer.read(_READ_COUNT, 0.0)
        for delivery, group in self._consumer.decode(TrajectoryGroup, deliveries):
            if group.prompt.evaluation == version:
                found[group.prompt.index] = group
                self._round.end = self._deadline()
            self._consumer.acknowledge([delivery.id])
        if len(found) == count:
            self._round = None
            return evaluate(version, list(found.values()))
        if self._round.end.passed:
            raise RunDeadlineError(
                f"evaluation at version {version}: {count - len(found)} of {count} tasks did not come back, and "
                f"none did for {self._config.deadlines.step_seconds:.0f} s (deadlines.step_seconds)"
            )
        return None

    def _deadline(self) -> Deadline:
        return self._streams.deadline(self._config.deadlines.step_seconds)

    def _send(self, indices: Iterable[int]) -> None:
        """Send tasks out for the round under way."""
        version = self.version
        assert version is not None
        prompts = [self._prompt(version, index, self.tasks[index]) for index in indices]
        self._streams.publish(PROMPTS, prompts, deadline=self._config.deadlines.step_seconds)

    def _prompt(self, version: int, index: int, task: Task) -> bytes:
        config = self._config
        sampler = config.rollout.sampler().model_copy(update={"temperature": config.evaluation.temperature})
        return PromptGroup(
            run_id=self._run_id,
            purpose=Purpose.EVALUATION,
            evaluation=version,
            index=index,
            seed=config.run.seed,
            task=task,
            group_size=config.evaluation.samples,
            min_version=version,
            sampler=sampler,
        ).encode()


def _is_evaluation(kind: type[PromptGroup | RolloutGroup | TrajectoryGroup], data: bytes) -> bool:
    try:
        record = kind.decode(data)
    except RecordError:  # its consumer moves it to the dead letters
        return False
    prompt = record if isinstance(record, PromptGroup) else record.prompt
    return prompt.purpose is Purpose.EVALUATION
