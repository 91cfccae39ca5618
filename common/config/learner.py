"""How the model learns from scored completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from common.config.base import NonNegative, Positive, Rate, RayResource, Section, Share
from common.presets import PRESETS, Preset

EstimatorName = Literal[
    "coupled", "decoupled", "full_mask", "random_mask", "elbo", "elbo_quadrature", "trace", "left_to_right"
]
#: Estimators that leave some tokens without a likelihood, depending on the masks.
PARTIAL_ESTIMATORS = ("random_mask", "elbo_quadrature")


class OptimizerConfig(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: Rate = 1e-6
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's exponential averages."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    warmup_steps: NonNegative = 0
    """Optimizer steps of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rate falls from its peak over the run."""
    final_share: Share = 0.1
    """Learning rate at the end, as a share of the peak."""
    max_grad_norm: Rate = 0.2
    """Gradient clipping."""


class LoraConfig(Section):
    """Low-rank adapters (peft, the extra `lora`) on the matrices of every layer; all else stays as it is."""

    rank: Positive = 16
    """Rank of an adapter."""
    alpha: Positive = 32
    """Adapters count alpha / rank."""


class LearnerConfig(Section):
    preset: Preset | None = None
    """A published algorithm: gives the fields below the values of its paper, where the recipe does not set them.
    As an override it goes before the recipe's values."""
    ranks: Positive = 1
    """DeepSpeed ranks, each a Ray actor."""
    gpus_per_rank: Annotated[float, Field(ge=0)] = 0.0
    """GPUs Ray reserves for each rank."""
    ray_resource: RayResource | None = None
    """Custom Ray resource of which each rank takes 1, so that ranks run on the nodes that offer it."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """DeepSpeed ZeRO stage."""
    zero_offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in the memory of the CPU: nothing, the optimizer's state, or (stage 3) the weights as
    well."""
    groups_per_step: Positive = 8
    """Groups (tasks) of one learner step."""
    inner_iterations: Positive = 2
    """mu, updates on the same groups, each with fresh masks."""
    estimator: EstimatorName = "coupled"
    """How token likelihoods are measured. ``coupled``: full mask and pairs of complementary masks (DiffuCoder);
    ``decoupled``: as many masks, drawn apart; ``full_mask``: one pass with part of the prompt masked (d1);
    ``random_mask``: one random subset (UniGRPO); ``elbo``: complementary subsets of exact size (ESPO);
    ``elbo_quadrature``: fixed mask ratios (GDPO); ``trace``: the steps of the rollout (TraceRL);
    ``left_to_right``: one pass a token (JustGRPO), for rollouts with ``rollout.block_length: 1``."""
    mask_pairs: Positive = 1
    """lambda, mask pairs per sample: of ``coupled``, ``decoupled`` and ``elbo``."""
    mask_ratio: tuple[float, float] = (0.2, 0.8)
    """Range of the mask ratio r ~ U(low, high) of ``coupled`` and ``decoupled``."""
    weighting: Literal["paper", "normalized"] = "paper"
    """Of ``coupled`` and ``decoupled``. ``paper``: weights 1/r and 1/(1-r), total 1.5 per token at lambda 1.
    ``normalized``: divided by their total."""
    prompt_mask: Share = 0.15
    """Share of the prompt's tokens that ``full_mask`` masks."""
    quadrature_nodes: Positive = 2
    """Mask ratios of ``elbo_quadrature``."""
    trace_merged_steps: Positive = 1
    """Denoising steps that ``trace`` scores in one view."""
    objective: Literal["grpo", "sequence", "wd1", "spg", "vrpo"] = "grpo"
    """``grpo``: clipped token ratios; ``sequence``: one clipped ratio a completion (ESPO, GSPO); ``wd1``: weighted
    likelihoods without a ratio; ``spg``: lower and upper bounds by the advantage's sign; ``vrpo``: preferences
    between the better and the worse completions of a group (LLaDA 1.5)."""
    advantage: Literal["mean", "loo", "mean_std"] = "mean"
    """Baseline of a group: its mean (paper), leave-one-out, or mean divided by the standard deviation."""
    clip: Rate = 0.5
    """epsilon of the clip of ``grpo`` and ``sequence``: ratios below 1 - epsilon gain nothing more."""
    clip_high: Rate | None = None
    """epsilon above 1; without it, ``clip`` on both sides."""
    kl_weight: Annotated[float, Field(ge=0)] = 0.01
    """beta of the KL to the reference in ``grpo`` and ``sequence``; 0 runs without a reference."""
    kl: Literal["k2", "k3"] = "k3"
    """Estimator of that KL: k3 = e^d - d - 1 (paper), or k2 = d^2 / 2, d the reference's log ratio."""
    reference_sync_steps: NonNegative = 64
    """Optimizer steps between syncs of the reference; 0 keeps it as it was at the start of the run."""
    reference_sync_share: Share = 0.6
    """Share of the current weights in a sync; the rest stays."""
    spg_beta: Annotated[float, Field(ge=1)] = 1.5
    """Power in the upper bound of ``spg``."""
    spg_mix: Share = 0.5
    """Share of the upper bound where ``spg`` lowers a likelihood; the rest is the lower bound."""
    vrpo_beta: Rate = 0.2
    """Scale of the log ratios of ``vrpo``."""
    off_policy_cap: Rate | None = None
    """Truncated importance weights against staleness: rollouts also carry the token likelihoods of the weights
    that sampled, and a token of ``grpo`` counts min(cap, old / sampling). Without a value nothing is corrected."""
    zero_variance_groups: Literal["skip", "replace"] = "skip"
    """Groups whose samples all have one reward: count them as trained, or filter them and take others."""
    batch_tokens: Positive = 16384
    """Tokens, of all views and with their prompts, in one forward and backward pass. What belongs together (the
    views of a sample, the pair of ``vrpo``) stays together, also where it is more."""
    logits_mb: Positive = 64
    """MiB of logits at a time: the vocabulary is scored in chunks of rows."""
    gradient_checkpointing: bool = False
    """Keep one hidden state a layer and compute the rest again in the backward pass."""
    compile: bool = False
    """Compile the feed-forward blocks (needs a C++ compiler, or CUDA); not with ZeRO stage 3."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of all weights: an empty mapping takes the defaults."""
    deterministic: bool = False
    """Only kernels that repeat bitwise, also on a GPU, where they are slower."""
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint_steps: Positive = 10
    """Learner steps between checkpoints."""
    keep_checkpoints: Positive = 2
    """Checkpoints kept."""
    bucket_mb: Positive = 64
    """Size of a weight bucket, MiB."""
    weights_transport: Literal["auto", "object_store", "collective"] = "auto"
    """How rollout workers get new weights: each out of Ray's ``object_store``, or by ``collective`` broadcast from
    rank 0 (NCCL between GPUs, gloo otherwise), which a worker that starts late makes up for in the object store.
    ``auto`` broadcasts where some worker is on another machine than rank 0."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        preset = PRESETS.get(values.get("preset")) if isinstance(values, dict) else None
        return {**preset, **values} if preset else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.mask_ratio
        if not 0 < low <= high < 1:
            raise ValueError("mask_ratio: needs 0 < low <= high < 1")
        if self.estimator == "decoupled" and abs(low + high - 1.0) > 1e-9:
            raise ValueError(
                "mask_ratio: complements have the ratio 1 - r; to compare with them, decoupled needs a range that "
                "is symmetric about 0.5"
            )
        if self.zero_offload != "none" and not self.zero_stage:
            raise ValueError("zero_offload: is a part of ZeRO; set zero_stage to 1, 2 or 3")
        if self.zero_offload == "all" and self.zero_stage < 3:
            raise ValueError(
                "zero_offload: only stage 3 moves weights; set zero_stage: 3, or offload the optimizer"
            )
        if self.compile and self.zero_stage == 3:
            raise ValueError(
                "compile: blocks whose weights come and go cannot be compiled; set zero_stage below 3"
            )
        if self.lora and self.zero_stage == 3:
            raise ValueError("lora: adapters are too small to be partitioned; set zero_stage below 3")
        if self.off_policy_cap and self.objective != "grpo":
            raise ValueError("off_policy_cap: only the grpo objective weighs tokens; leave it out")
        if self.off_policy_cap and self.estimator in PARTIAL_ESTIMATORS:
            raise ValueError(f"off_policy_cap: {self.estimator} does not score every token; leave it out")
        if self.objective in ("spg", "vrpo") and self.estimator not in ("elbo", "elbo_quadrature"):
            raise ValueError(
                f"objective: {self.objective} is made of evidence lower bounds; set estimator to elbo"
            )
        return self

    @property
    def needs_reference(self) -> bool:
        return self.objective == "vrpo" or (self.objective in ("grpo", "sequence") and self.kl_weight > 0)
