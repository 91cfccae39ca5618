"""How completions are denoised."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.config.base import NonNegative, Positive, RayResource, Section
from common.records import Decoder, Sampler, Temperature, Threshold, TopP, check_sampler


class RolloutConfig(Section):
    workers: Positive = 1
    """Ray actors that denoise."""
    min_workers: Positive | None = None
    """The run starts with this many of the workers; the others join whenever the cluster has room for them.
    Without it the run needs room for all, and starts once all are there."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs Ray reserves for each rollout worker."""
    ray_resource: RayResource | None = None
    """Custom Ray resource of which each worker takes 1, so that workers run on the nodes that offer it."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """G, completions per task. At least 2: a group of one has no baseline."""
    temperature: Temperature = 1.2
    """Sampling temperature; 0 is greedy. The paper's is 1.2 (section 4.2, figure 7)."""
    top_p: TopP = 0.95
    """Nucleus mass kept before entropy and sampling; 1 keeps everything."""
    top_k: NonNegative = 0
    """Most likely tokens kept before entropy and sampling; 0 keeps everything."""
    decoder: Decoder = "entropy"
    """Which masked positions are committed first. Dream and DiffuCoder: ``entropy`` (lowest), ``topk_margin``
    (largest gap between the two likeliest tokens), ``maskgit_plus`` (likeliest drawn token), ``origin`` (random).
    LLaDA: ``low_confidence`` (likeliest drawn token, by the model's own probability) and ``random``. ``threshold``
    commits every drawn token of probability above ``threshold`` at once, which makes it another policy."""
    decoder_temperature: Temperature = 0.0
    """Above 0, positions are drawn from softmax(confidence / decoder_temperature) instead of taken in order."""
    threshold: Threshold = 0.9
    """Probability above which the ``threshold`` decoder commits a token."""
    completion_length: Positive = 256
    """L, mask tokens after the prompt."""
    denoising_steps: Positive = 256
    """S; each step commits about L/S tokens."""
    block_length: NonNegative = 0
    """Semi-autoregressive blocks: one is finished before the next begins. 0 denoises everything at once."""
    upstream: bool = False
    """Follow the published step schedule, its integer truncation included, instead of an exact budget per row."""
    approximate_cache: Literal["none", "prefix", "dual"] = "none"
    """Approximate: inside a block, reuse the keys and values of the text before it (``prefix``) or of all that is
    outside it (``dual``). Recorded in every rollout; `couplet bench agreement` shows what it changes."""
    batch_tokens: Positive = 16384
    """Tokens, prompts included, that one worker denoises together. Rows that finish make room for waiting ones."""
    update_between: Literal["batches", "steps"] = "batches"
    """When new weights are taken: between batches, or between denoising steps of one batch, whose completions then
    record the versions of their first and last step."""
    compile: Literal["auto", "never"] = "auto"
    """``auto`` compiles the statistics over the vocabulary where it is large and a C++ compiler is found."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        check_sampler(self)
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers: more than all {self.workers} workers; lower it or raise workers")
        return self

    def sampler(self) -> Sampler:
        return Sampler(**{name: getattr(self, name) for name in Sampler.model_fields})
