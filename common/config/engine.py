"""How DeepSpeed ranks train a model, whatever it learns from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.config.base import Amount, Gpus, NonNegative, Positive, Rate, RayResource, Section, Share

#: The share of an exponential average that stays at a step.
Momentum = Annotated[float, Field(ge=0, lt=1)]

#: What ``logits_mb`` is without a value. 512 MiB are 880 rows of 152,064 words; with what is made of them they
#: take 1.6 GB, 2 % of a GPU of 80 GB.
_CPU_LOGITS_MB, _GPU_LOGITS_MB = 64, 512


class OptimizerConfig(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: Rate = 1e-6
    """Peak learning rate."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.99)
    """AdamW's exponential averages."""
    weight_decay: Amount = 0.1
    """Decoupled weight decay of matrices; biases and the weights of norms have none."""
    warmup_steps: NonNegative = 0
    """Optimizer steps of linear warm-up, the first of them at rate 0."""
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


class EngineConfig(Section):
    """The DeepSpeed ranks, what they hold in memory, and when they write checkpoints."""

    ranks: Positive = 1
    """DeepSpeed ranks, each a Ray actor."""
    gpus_per_rank: Gpus = 0.0
    """GPUs Ray reserves for each rank."""
    ray_resource: RayResource | None = None
    """Custom Ray resource of which each rank takes 1, so that ranks run on the nodes that offer it."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """DeepSpeed ZeRO stage."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """How the weights that are trained are held. ``bfloat16``, for ``model.dtype: bfloat16`` and from ZeRO stage 1
    on, takes 2 bytes in place of 4 and leaves the fp32 ones to the optimizer, in shards; what is published and
    exported is bf16, too."""
    zero_offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in the memory of the CPU: nothing, the optimizer's state, or (stage 3) the weights as
    well."""
    batch_tokens: Positive | None = None
    """Tokens in one forward and backward pass: of documents, or of all views of completions with their prompts.
    What belongs together (a document, the views of a sample, the pair of ``vrpo``, the group of ``stable_drl``)
    stays together, also where it is more. Without a value 16,384 on CPUs, and on GPUs as many as make what ZeRO
    exchanges for each pass a tenth of the pass's time: ``couplet plan`` says how many, and why."""
    logits_mb: Positive | None = None
    """MiB of logits at a time: the output layer runs on chunks of rows. Without a value 64 on a CPU, whose caches
    hold no more anyway, and 512 on a GPU, where products of few rows are slow."""
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
    """Newest checkpoints kept. With 1 there is none to go back to where that one is damaged."""
    keep_every_steps: NonNegative = 0
    """Checkpoints of steps that are multiples of this are kept for good, besides the newest; a multiple of
    ``checkpoint_steps``. 0 keeps none for good."""
    bucket_mb: Positive = 64
    """Size of a weight bucket, MiB."""

    @property
    def logits_bytes(self) -> int:
        """Bytes of logits that exist at a time."""
        return (self.logits_mb or (_GPU_LOGITS_MB if self.gpus_per_rank else _CPU_LOGITS_MB)) << 20

    def check_dtype(self, computes_in: str) -> None:
        """Raise ValueError for weights that a model which computes in this type cannot be computed with."""
        if self.weights_dtype == "bfloat16" and computes_in != "bfloat16":
            raise ValueError(
                "learner.weights_dtype: bfloat16 weights cannot be computed with in float32; set model.dtype: "
                "bfloat16, or learner.weights_dtype: float32"
            )

    @model_validator(mode="after")
    def _kept_checkpoints_exist(self) -> Self:
        if self.keep_every_steps % self.checkpoint_steps:
            raise ValueError(
                f"keep_every_steps: {self.keep_every_steps} is no multiple of checkpoint_steps "
                f"({self.checkpoint_steps}), so few of these steps have a checkpoint; make it one"
            )
        return self

    @model_validator(mode="after")
    def _memory_settings_agree(self) -> Self:
        if self.zero_offload != "none" and not self.zero_stage:
            raise ValueError("zero_offload: is a part of ZeRO; set zero_stage to 1, 2 or 3")
        if self.weights_dtype == "bfloat16" and not self.zero_stage:
            raise ValueError(
                "weights_dtype: bfloat16 keeps the fp32 weights in ZeRO's shards; set zero_stage to 1, 2 or 3"
            )
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
        return self
