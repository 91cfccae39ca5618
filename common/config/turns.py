"""What a run demands in which the learner and the rollout workers take turns on the same devices."""

from __future__ import annotations

from common.config.backends import VllmBackendConfig
from common.config.learner import LearnerConfig
from common.config.rollout import RolloutConfig

_ELSE = "or set rollout.placement: separate"


def check_turns(rollout: RolloutConfig, learner: LearnerConfig, max_staleness: int) -> None:
    """Raise ValueError for settings that ``rollout.placement: shared`` contradicts; the first of them is named."""
    if rollout.placement == "separate":
        return
    if max_staleness:
        raise ValueError(
            "admission.max_staleness: nothing is denoised while the learner trains on the same devices, so no "
            f"group is ever stale; set admission.max_staleness: 0, {_ELSE}"
        )
    if isinstance(rollout.backend, VllmBackendConfig):
        raise ValueError(
            "rollout.backend: the vllm backend cannot give its memory back between two turns; set "
            f"rollout.backend: torch, {_ELSE}"
        )
    if rollout.min_workers is not None:
        raise ValueError(
            "rollout.min_workers: workers stand where the learner's ranks stand, which are all there from the "
            f"start; leave it out, {_ELSE}"
        )
    if rollout.update_between == "steps":
        raise ValueError(
            "rollout.update_between: workers give their memory back once a batch has ended; set "
            f"rollout.update_between: auto, {_ELSE}"
        )
    if rollout.workers % learner.ranks:
        raise ValueError(
            f"rollout.workers: {rollout.workers} workers cannot be shared out evenly to the devices of "
            f"{learner.ranks} ranks; set it to a multiple of learner.ranks, {_ELSE}"
        )
    if rollout.ray_resource != learner.ray_resource:
        raise ValueError(
            "rollout.ray_resource: would place workers on other nodes than the learner's ranks; set it to "
            f"learner.ray_resource ({learner.ray_resource or 'null'}), {_ELSE}"
        )
    if rollout.gpus_per_worker != learner.gpus_per_rank or learner.gpus_per_rank not in (0.0, 1.0):
        raise ValueError(
            "rollout.gpus_per_worker: a worker and a rank use the same GPU in their turns; set it and "
            f"learner.gpus_per_rank to 1 both (on CPUs, to 0 both), {_ELSE}"
        )
    if learner.weights_transport == "collective":
        raise ValueError(
            "learner.weights_transport: workers receive nothing while the learner has the devices; set "
            f"learner.weights_transport: auto, {_ELSE}"
        )
