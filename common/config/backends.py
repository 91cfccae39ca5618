"""The engines that compute rollouts, of which a recipe chooses one, each with its own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from common.config.base import Positive, Section, kind_of, with_kind


class TorchBackendConfig(Section):
    """Couplet's own model in PyTorch, the same code that the learner runs."""

    kind: Literal["torch"] = "torch"


class VllmBackendConfig(Section):
    """The model of vLLM, its layers and kernels, with Couplet's denoising loop inside its workers."""

    kind: Literal["vllm"] = "vllm"
    tensor_parallel_size: Positive = 1
    """GPUs, or processes on CPUs, that share the weights of one rollout worker."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of each GPU's memory that vLLM counts on: it does not start where less of it is free."""
    enforce_eager: bool = True
    """Run the model layer by layer; ``false`` lets vLLM compile it, which makes every start longer."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of the weights and of what is computed with them; by default ``model.dtype``."""


#: The kinds; the first is the default.
BACKENDS: Mapping[str, type[Section]] = {"torch": TorchBackendConfig, "vllm": VllmBackendConfig}

BackendConfig = Annotated[
    Annotated[TorchBackendConfig, Tag("torch")] | Annotated[VllmBackendConfig, Tag("vllm")],
    Discriminator(kind_of, custom_error_type="backend", custom_error_message="kind: choose torch or vllm"),
    BeforeValidator(lambda value: with_kind(value, "torch")),
]
