"""How long the parts of a run will take on GPUs, from the operations of its model: arithmetic, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from common.config import Config, GrpoConfig
from common.flops import forward_flops, training_flops
from common.likelihood.registry import make_estimator
from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes
from learner.memory import STEPPED, largest_micro_batch, learner_memory
from learner.samples import TrainingSample
from orchestrator.planning.types import Times

#: Bytes of a parameter in a checkpoint: the weights in bf16, and in fp32 with both moments of Adam.
_CHECKPOINT_BYTES = 14


@dataclass(frozen=True)
class Hardware:
    """Describe what a run is planned for.

    ``peak``: TFLOP/s of a GPU; ``rollout_share`` and ``update_share``: of it that denoising and training reach,
    which are assumptions. ``network_gb`` and ``disk_gb``: GB/s of the way of weights, and of checkpoints.
    ``host_gb``: GB/s between a GPU and the machine's memory.
    """

    peak: float
    rollout_share: float = 0.4
    update_share: float = 0.4
    network_gb: float = 10.0
    disk_gb: float = 2.0
    host_gb: float = 20.0


def computed_times(config: Config, model: ModelConfig, hardware: Hardware) -> Times:
    """Compute the times of a recipe from its longest prompts and completions, of which every step is denoised.

    Rewards run on CPUs and depend on the tests: they count as nothing here. Raises PluginError for an estimator
    that cannot be loaded.
    """
    rollout, learner = config.rollout, config.learner
    length = config.data.max_prompt_tokens + rollout.completion_length
    parameters = sum(prod(shape) for shape in parameter_shapes(model).values())
    forward = forward_flops(model, [length], rollout.completion_length)
    samples = learner.groups_per_step * rollout.group_size
    published = parameters * (2 if config.model.dtype == "bfloat16" else 4) / (hardware.network_gb * 1e9)
    denoising = rollout.group_size * rollout.denoising_steps * forward
    update = samples * _update_flops(config, model, length) / learner.ranks
    return Times(
        rollout=denoising / (hardware.peak * 1e12 * hardware.rollout_share),
        update=update / (hardware.peak * 1e12 * hardware.update_share),
        publish=published,
        load=published,
        checkpoint=parameters * _CHECKPOINT_BYTES / (hardware.disk_gb * 1e9),
        switch=_held_between_steps(config, model) / (hardware.host_gb * 1e9),
    )


def _held_between_steps(config: Config, model: ModelConfig) -> int:
    """Return the bytes that a rank moves where it makes room for rollout workers."""
    learner, rollout = config.learner, config.rollout
    prompt, completion = config.data.max_prompt_tokens, rollout.completion_length
    batch = largest_micro_batch(learner, prompt, completion, rollout.group_size)
    return learner_memory(model, learner, config.model.dtype == "bfloat16", batch, on_gpu=True).at(STEPPED)


def _update_flops(config: Config, model: ModelConfig, length: int) -> float:
    """Count the operations on a sample, of all inner iterations: old policy, reference and update itself."""
    learner = config.learner
    completion = config.rollout.completion_length
    estimator = make_estimator(learner.estimator, learner.inner_iterations)
    sample = TrainingSample(
        group=0,
        sample=0,
        prompt_ids=(0,) * config.data.max_prompt_tokens,
        completion_ids=(0,) * completion,
        valid_tokens=completion,
        step_map=tuple(range(completion)),
        reward=0.0,
        advantage=1.0,
    )
    views = estimator.views(sample.key(0, 0), sample)
    lengths, rows = [length] * len(views.masks), int(views.measured(sample).sum())
    objective = learner.objective
    reference = isinstance(objective, GrpoConfig) and objective.kl_weight > 0
    passes = (learner.inner_iterations > 1) + reference + learner.gradient_checkpointing
    one = training_flops(model, lengths, rows) + passes * forward_flops(model, lengths, rows)
    return learner.inner_iterations * one
