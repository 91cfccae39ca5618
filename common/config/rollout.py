"""How completions are denoised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from common.config.backends import BackendConfig, TorchBackendConfig, VllmBackendConfig
from common.config.base import Gpus, Positive, RayResource, Section, kind_of, with_kind
from common.numbers import LARGEST_COUNT
from common.plugins import plugin_path
from common.records import Sampler
from common.sampler import DECODERS, SamplerFields


class RolloutConfig(SamplerFields, Section):
    backend: BackendConfig = TorchBackendConfig()
    """The engine that computes completions; each kind has its own options."""
    workers: Positive = 1
    """Ray actors that denoise."""
    min_workers: Positive | None = None
    """The run starts with this many of the workers; the others join whenever the cluster has room for them.
    Without it the run needs room for all, and starts once all are there."""
    placement: Literal["separate", "shared"] = "separate"
    """Where workers stand: ``separate`` from the learner, on devices of their own, or ``shared``: on those of the
    learner's ranks, in turns. While the groups of a step are denoised, the ranks keep what they hold in the
    machine's memory, and while the learner trains, workers hold no weights (docs/cluster.md)."""
    gpus_per_worker: Gpus = 0.0
    """GPUs Ray reserves for each rollout worker; with ``placement: shared``, those of a rank that it uses in its
    turns."""
    ray_resource: RayResource | None = None
    """Custom Ray resource of which each worker takes 1, so that workers run on the nodes that offer it."""
    group_size: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] = 8
    """G, completions per task. At least 2: a group of one has no baseline."""
    batch_tokens: Positive = 16384
    """Tokens, prompts included, that one worker denoises together. Rows that finish make room for waiting ones."""
    update_between: Literal["auto", "batches", "steps"] = "auto"
    """When new weights are taken: between batches, or between denoising steps of one batch, whose completions then
    record the versions of their first and last step. ``auto``: between steps where ``admission.max_staleness`` is
    above 0, else between batches."""
    compile: Literal["auto", "never"] = "auto"
    """``auto`` compiles the statistics over the vocabulary where it is large and a C++ compiler is found."""
    verify_weights: bool = False
    """Spoil the weights of every rollout worker when it starts, send it the learner's, and compare every tensor
    bit for bit, and again after its first broadcast; the run ends where one differs."""

    @field_validator("decoder")
    @classmethod
    def _is_known(cls, decoder: str) -> str:
        if decoder not in DECODERS:
            plugin_path("decoder", decoder, DECODERS)
        return decoder

    @model_validator(mode="before")
    @classmethod
    def _is_exact_with_vllm(cls, given: Any) -> Any:
        """Refuse a cache before anything else: what a cache demands of other fields is of no use here."""
        if not isinstance(given, Mapping) or kind_of(with_kind(given.get("backend"), "torch")) != "vllm":
            return given
        for field, exact in (("approximate_cache", "none"), ("approximate_locking", 0)):
            if given.get(field, exact) != exact:
                raise ValueError(
                    f"{field}: the vllm backend computes every step in full; set {field}: {exact}, or "
                    "backend: torch"
                )
        return given

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers: more than all {self.workers} workers; lower it or raise workers")
        return self

    @model_validator(mode="after")
    def _backend_can(self) -> Self:
        if not isinstance(self.backend, VllmBackendConfig):
            return self
        gpus, shared_by = self.gpus_per_worker, self.backend.tensor_parallel_size
        if shared_by > 1 and gpus not in (0, shared_by):
            raise ValueError(
                f"gpus_per_worker: tensor_parallel_size {shared_by} takes as many GPUs; set gpus_per_worker: "
                f"{shared_by}, or 0 to run on CPUs"
            )
        if 0 < gpus < self.backend.gpu_memory_utilization:
            raise ValueError(
                f"backend.gpu_memory_utilization: workers that take {gpus:g} of a GPU share its memory; set it to "
                f"{gpus:g} or less"
            )
        return self

    def sampler(self) -> Sampler:
        """Return the sampler as rollouts record it."""
        return Sampler(**{name: getattr(self, name) for name in SamplerFields.model_fields})
