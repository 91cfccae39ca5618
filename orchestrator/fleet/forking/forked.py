"""Which actors are forked, and what they have in common: what the fork server imports for them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from common.config import Config
from orchestrator.fleet.forking.process import fork_server

#: What takes long, and does not import Ray.
_LIBRARIES = (
    "torch",
    "deepspeed",
    "learner.policy",
    "rollout_workers.engine",
    "transformers.tokenization_utils_tokenizers",
    "transformers.models.qwen2.tokenization_qwen2",
)
_ACTORS = (
    "learner.learner_rank",
    "learner.learning",
    "rollout_workers.rollout_actor",
    "rollout_workers.worker_parts",
    "reward_service.reward_actor",
)


def forked_actors(config: Config) -> AbstractContextManager[None]:
    """Have the actors of a run forked where it starts its own Ray, and uses no GPU; enter it before Ray starts."""
    on_gpus = config.rollout.gpus_per_worker or config.learner.gpus_per_rank or config.model.device == "cuda"
    if config.ray.address != "local" or on_gpus:
        return nullcontext()
    return fork_server(_LIBRARIES, _ACTORS)
