"""Held-out evaluation through the same streams and workers as training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from common.config import Config
from common.errors import RunFailedError
from common.records import PromptGroup, Purpose, Task, TrajectoryGroup
from common.streams import EVALUATIONS, PROMPTS, Consumer, Streams
from orchestrator.rounds import Evaluation, evaluate

_POLL_SECONDS = 0.2
_READ_COUNT = 64


class RunDeadlineError(RunFailedError, TimeoutError):
    """A part of the run made no progress before its deadline; the message names it."""


class Evaluator:
    """Send the held-out ``tasks`` out as evaluation groups and wait for their rewards."""

    def __init__(self, config: Config, run_id: str, streams: Streams, tasks: Sequence[Task]) -> None:
        self._config = config
        self._run_id = run_id
        self._streams = streams
        self.tasks = tasks

    def run(self, version: int, meanwhile: Callable[[], None]) -> Evaluation:
        """Evaluate the weights of ``version``; ``meanwhile`` is called while waiting.

        Raises :class:`RunDeadlineError` if the results do not come back in time.
        """
        deadline = self._config.deadlines.step_seconds
        found: dict[int, TrajectoryGroup] = {}
        self._send(version, found, deadline)
        consumer = Consumer(self._streams, EVALUATIONS, "orchestrator")
        end, renewals = self._streams.deadline(deadline), self._streams.renewals
        while len(found) < len(self.tasks):
            if end.passed:
                raise RunDeadlineError(
                    f"evaluation at version {version}: {len(self.tasks) - len(found)} of {len(self.tasks)} tasks "
                    f"did not come back within {deadline:.0f} s (deadlines.step_seconds)"
                )
            meanwhile()
            if self._streams.renewals != renewals:
                renewals = self._streams.renewals
                self._send(version, found, deadline)
            deliveries = consumer.read(_READ_COUNT, _POLL_SECONDS)
            for delivery, group in consumer.decode(TrajectoryGroup, deliveries):
                if group.prompt.evaluation == version:
                    found[group.prompt.index] = group
                consumer.acknowledge([delivery.id])
        return evaluate(version, list(found.values()))

    def _send(self, version: int, found: Collection[int], deadline: float) -> None:
        """Send out the tasks that are not among those found."""
        left = [(index, task) for index, task in enumerate(self.tasks) if index not in found]
        self._streams.publish(PROMPTS, [self._prompt(version, *each) for each in left], deadline=deadline)

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
