"""Which actors are forked, and what the fork server imports for them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from common.config import Config, StageConfig
from orchestrator.fleet.forking.process import fork_server

#: What takes long, and does not import Ray.
_RANKS = ("torch", "deepspeed", "learner.policy")
_ROLLOUTS = ("rollout_workers.engine", "transformers:PreTrainedTokenizerFast")
_COMPLETERS = ("evaluation.completion_worker", "evaluation.completers.diffusion")
_STAGE_ACTORS = ("learner.stages.stage_rank", "learner.stages.engine")
_ACTORS = (
    "learner.learner_rank",
    "learner.learning",
    "rollout_workers.rollout_actor",
    "rollout_workers.worker_parts",
    "reward_service.reward_actor",
)


def forked_actors(config: Config | StageConfig) -> AbstractContextManager[None]:
    """Have the actors of a run with a Ray of its own forked, if it uses no GPU; enter it before Ray starts."""
    if config.model.device == "cuda" or config.learner.gpus_per_rank:
        return nullcontext()
    if isinstance(config, StageConfig):
        return fork_server(_RANKS, _STAGE_ACTORS)
    return nullcontext() if config.rollout.gpus_per_worker else fork_server((*_RANKS, *_ROLLOUTS), _ACTORS)


def forked_completers(gpus: float) -> AbstractContextManager[None]:
    """Have the workers of an evaluation forked, where each takes no GPUs; enter it before Ray starts."""
    return nullcontext() if gpus else fork_server(("torch", *_ROLLOUTS), _COMPLETERS)
