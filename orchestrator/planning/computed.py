"""How long the parts of a run will take on GPUs, from the operations of its model: arithmetic, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from common.config import Config
from common.flops import forward_flops, training_flops
from common.models.config import ModelConfig
from common.models.shapes import parameter_shapes
from learner.longest import MicroBatch, longest_micro_batches
from learner.memory import STEPPED, largest_micro_batch, learner_memory
from learner.objectives.registry import make_objective
from learner.traffic import exchanged_bytes
from orchestrator.planning.types import Times

#: Bytes of a parameter in a checkpoint: the weights in bf16, and in fp32 with both moments of Adam.
_CHECKPOINT_BYTES = 14


@dataclass(frozen=True)
class Hardware:
    """Describe what a run is planned for.

    ``peak``: TFLOP/s of a GPU; ``rollout_share`` and ``update_share``: of it that denoising and training reach,
    which are assumptions. ``network_gb`` and ``disk_gb``: GB/s of the way of weights, and of checkpoints;
    ``link_gb`` between the learner's ranks, as of NVLink, and ``host_gb`` between a GPU and the machine's memory:
    assumptions, too.
    """

    peak: float
    rollout_share: float = 0.4
    update_share: float = 0.4
    network_gb: float = 10.0
    disk_gb: float = 2.0
    link_gb: float = 300.0
    host_gb: float = 20.0


def computed_times(config: Config, model: ModelConfig, hardware: Hardware) -> Times:
    """Compute the times of a recipe from its longest prompts and completions, of which every step is denoised.

    Rewards run on CPUs and depend on the tests: they count as nothing here. Raises PluginError for an estimator
    that cannot be loaded.
    """
    rollout = config.rollout
    length = config.data.max_prompt_tokens + rollout.completion_length
    parameters = sum(prod(shape) for shape in parameter_shapes(model).values())
    forward = forward_flops(model, [length], rollout.completion_length)
    published = parameters * (2 if config.model.dtype == "bfloat16" else 4) / (hardware.network_gb * 1e9)
    denoising = rollout.group_size * rollout.denoising_steps * forward
    work = update_work(config, model)
    return Times(
        rollout=denoising / (hardware.peak * 1e12 * hardware.rollout_share),
        update=work.operations / (hardware.peak * 1e12 * hardware.update_share)
        + work.exchanged_bytes / (hardware.link_gb * 1e9),
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


@dataclass(frozen=True)
class UpdateWork:
    """A rank's share of a step, of all inner iterations: operations, and bytes that come from other ranks."""

    operations: float
    exchanged_bytes: float


def update_work(config: Config, model: ModelConfig) -> UpdateWork:
    """Count the work of the rank that has most: old policy, reference and update itself.

    What ranks exchange is counted as if nothing was computed meanwhile.
    """
    learner, rollout = config.learner, config.rollout
    prompt, completion = config.data.max_prompt_tokens, rollout.completion_length
    shares = longest_micro_batches(
        learner, prompt, completion, rollout.group_size, learner.groups_per_step, learner.ranks
    )
    reference = make_objective(learner.objective).needs_reference
    passes = (learner.inner_iterations > 1) + reference + learner.gradient_checkpointing

    def operations(batch: MicroBatch) -> float:
        lengths = [prompt + completion] * (batch.tokens // (prompt + completion))
        return training_flops(model, lengths, batch.rows) + passes * forward_flops(model, lengths, batch.rows)

    bytes_at_once = exchanged_bytes(model, learner, config.model.dtype == "bfloat16")
    return UpdateWork(
        learner.inner_iterations * max(sum(map(operations, share)) for share in shares),
        learner.inner_iterations * len(shares[0]) * bytes_at_once,
    )
