"""The pipeline that a recipe describes."""

from __future__ import annotations

from common.config import Config
from orchestrator.planning.measured import threads_of
from orchestrator.planning.types import Pipeline


def pipeline_of(config: Config, cores: float | None) -> Pipeline:
    """Return the pipeline of a recipe whose processes share ``cores``, or have their own where it is None."""
    rollout, staleness = config.rollout, config.admission.max_staleness
    row = config.data.max_prompt_tokens + rollout.completion_length
    return Pipeline(
        rollout_workers=rollout.workers,
        reward_workers=max(1, config.reward.workers),
        learner_ranks=config.learner.ranks,
        slots=max(1, rollout.batch_tokens // (rollout.group_size * row)),
        groups_per_step=config.learner.groups_per_step,
        group_size=rollout.group_size,
        max_staleness=staleness,
        max_in_flight=config.admission.max_in_flight,
        checkpoint_steps=config.learner.checkpoint_steps,
        in_order=staleness == 0,
        between_steps=rollout.update_between == "steps" or (rollout.update_between == "auto" and staleness > 0),
        cores=cores,
        threads=threads_of(config, cores),
        takes_turns=config.takes_turns,
    )
