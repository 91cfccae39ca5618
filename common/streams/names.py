"""The streams of a run and who reads them."""

from __future__ import annotations

from common.records import Purpose, RolloutGroup, TrajectoryGroup

PROMPTS = "prompts"
ROLLOUTS = "rollouts"
TRAJECTORIES = "trajectories"
EVALUATIONS = "evaluations"
DEAD_LETTERS = "dead-letters"

#: Stream -> the one consumer group that reads it.
CONSUMER_GROUPS = {
    PROMPTS: "rollout-workers",
    ROLLOUTS: "reward-workers",
    TRAJECTORIES: "learner",
    EVALUATIONS: "orchestrator",
}

#: The hash of a run's counters.
COUNTERS = "counters"
#: The hash of the groups that the learner has discarded since its last checkpoint.
DECISIONS = "decisions"
#: The hash of what scorers must agree on with the run.
TERMS = "terms"
#: The hashes of a run.
HASHES = (COUNTERS, DECISIONS, TERMS)
#: The field of a stream's messages that holds the record.
RECORD = b"record"


def result_stream(result: RolloutGroup | TrajectoryGroup) -> str:
    """Name the stream that takes a worker's result: scored evaluation groups do not go to the learner."""
    if isinstance(result, RolloutGroup):
        return ROLLOUTS
    return TRAJECTORIES if result.prompt.purpose is Purpose.TRAIN else EVALUATIONS
