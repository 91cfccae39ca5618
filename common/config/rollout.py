"""How completions are denoised."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from common.config.base import Positive, RayResource, Section
from common.plugins import plugin_path
from common.records import Sampler
from common.sampler import DECODERS, SamplerFields


class RolloutConfig(SamplerFields, Section):
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
    batch_tokens: Positive = 16384
    """Tokens, prompts included, that one worker denoises together. Rows that finish make room for waiting ones."""
    update_between: Literal["batches", "steps"] = "batches"
    """When new weights are taken: between batches, or between denoising steps of one batch, whose completions then
    record the versions of their first and last step."""
    compile: Literal["auto", "never"] = "auto"
    """``auto`` compiles the statistics over the vocabulary where it is large and a C++ compiler is found."""

    @field_validator("decoder")
    @classmethod
    def _is_known(cls, decoder: str) -> str:
        if decoder not in DECODERS:
            plugin_path("decoder", decoder, DECODERS)
        return decoder

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers: more than all {self.workers} workers; lower it or raise workers")
        return self

    def sampler(self) -> Sampler:
        """Return the sampler as rollouts record it."""
        return Sampler(**{name: getattr(self, name) for name in SamplerFields.model_fields})
