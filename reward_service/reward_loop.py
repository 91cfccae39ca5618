"""The reward worker's loop: completions in, rewards out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from common import rng
from common.heartbeat import Heartbeat
from common.reasons import FewReasons
from common.records import Purpose, RolloutGroup, Score, TrajectoryGroup
from common.streams import Consumer, Delivery
from reward_service.metrics import Lost
from reward_service.scoring import Scorer
from reward_service.user_rewards import Decoding, RewardFunctionError

_POLL_SECONDS = 0.5


class RewardLoop:
    """Scores one group after the other; ``publish`` publishes a result and acknowledges its cause.

    ``agreed`` tells whether the run has said how it wants groups scored, and raises where this would be otherwise.
    ``heart`` is told what it does, and ``note`` the first few reasons why groups are lost or completions excluded.
    """

    def __init__(
        self,
        name: str,
        consumer: Consumer,
        publish: Callable[[Delivery, TrajectoryGroup], None],
        agreed: Callable[[], bool],
        scorer: Scorer,
        heart: Heartbeat,
        note: Callable[[str], None],
        deliveries: int,
        shuffle: bool,
    ) -> None:
        self._name = name
        self._consumer = consumer
        self._publish = publish
        self._agreed = agreed
        self._scorer = scorer
        self._heart = heart
        self._reasons = FewReasons(note)
        self._deliveries = deliveries
        self._shuffle = shuffle

    def run(self, stopping: Callable[[], bool], on_group: Callable[[TrajectoryGroup], None]) -> None:
        """Work until told to stop; ``on_group`` is told every scored group. Raises DisagreementError."""
        self._await_agreement(stopping)
        while not stopping():
            for delivery, group in self._consumer.decode(RolloutGroup, self._consumer.read(1, _POLL_SECONDS)):
                # Publishing may wait for room, and nobody else may take the group meanwhile.
                with self._consumer.holding([delivery]):
                    if not self._await_agreement(stopping):  # the run may have begun anew while this waited
                        return
                    longest = self._scorer.longest_seconds(len(group.rollouts))
                    self._heart.doing(f"scoring group {group.prompt.index}", longest)
                    result = self._score(delivery, group)
                    self._tell_reasons(result)
                    self._heart.waiting(f"room for group {group.prompt.index} in the trajectory stream")
                    self._publish(delivery, result)
                self._heart.waiting("completed groups")
                on_group(result)
            self._agreed()

    def _await_agreement(self, stopping: Callable[[], bool]) -> bool:
        """Wait until the run has said how it wants groups scored; False where told to stop before."""
        self._heart.waiting("the run to say how it wants groups scored")
        while not self._agreed():
            if stopping():
                return False
            time.sleep(_POLL_SECONDS)
        self._heart.waiting("completed groups")
        return True

    def _score(self, delivery: Delivery, group: RolloutGroup) -> TrajectoryGroup:
        if delivery.attempt > self._deliveries:
            self._scorer.metrics.lost(Lost.DELIVERIES)
            reason = f"scoring did not finish in {self._deliveries} attempts"
            return TrajectoryGroup.from_lost(group.prompt, self._name, reason)
        return score_rollouts(self._scorer, group, self._name, self._shuffle)

    def _tell_reasons(self, group: TrajectoryGroup) -> None:
        if group.lost is not None:
            self._reasons.add("a group is lost", group.lost)
        for score in group.scores:
            if score.excluded:
                self._reasons.add("a completion is excluded", score.reason)


def score_rollouts(scorer: Scorer, group: RolloutGroup, worker: str, shuffle: bool = False) -> TrajectoryGroup:
    """Score a group; one that cannot be scored is lost. Of an evaluation only verdicts and format are asked.

    ``shuffle`` deals the rewards of training groups.
    """
    started = time.perf_counter()
    texts = [rollout.text for rollout in group.rollouts]
    try:
        if group.prompt.purpose is Purpose.EVALUATION:
            scores = scorer.evaluate_group(group.prompt.task, texts)
        else:
            decodings = [Decoding(rollout.text_tokens, rollout.forwards) for rollout in group.rollouts]
            scores = scorer.score_group(group.prompt.task, texts, decodings)
    except RewardFunctionError as error:
        return TrajectoryGroup.from_lost(group.prompt, worker, f"cannot be scored: {error.reason}")
    except ValueError as error:
        return TrajectoryGroup.from_lost(group.prompt, worker, f"cannot be scored: {error}")
    if shuffle and group.prompt.purpose is Purpose.TRAIN:
        scores = shuffled(scores, group.prompt.seed, group.prompt.index)
    return TrajectoryGroup(
        prompt=group.prompt,
        rollouts=group,
        scores=tuple(scores),
        worker=worker,
        seconds=time.perf_counter() - started,
    )


def shuffled(scores: Sequence[Score], seed: int, group: int) -> list[Score]:
    """The control experiment: the same rewards, dealt to the group's samples at random."""
    order = rng.stream(seed, "shuffled-rewards", group).permutation(len(scores))
    return [scores[i] for i in order]
