"""What is evaluated and how its completions are sampled; printed beside the results, which depend on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from common.config import ModelSection, PromptSettings, Section
from common.config.base import NonNegative, Positive
from common.records import Sampler
from common.sampler import Temperature

#: ``torch`` and ``vllm`` denoise; ``vllm`` and ``transformers`` run causal models.
Engine = Literal["torch", "vllm", "transformers"]


class CausalSampler(Section):
    """How a causal model's completions are sampled, from left to right."""

    temperature: Temperature = 0.0
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Nucleus mass kept before sampling; 1 keeps everything."""
    top_k: NonNegative = 0
    """Most likely tokens kept before sampling; 0 keeps everything."""
    completion_length: Positive = 512
    """Tokens of a completion at most."""


def _kind(sampler: Any) -> str:
    """Tell the samplers apart; by their other fields alone, one could be read as the other."""
    fields = sampler if isinstance(sampler, dict) else type(sampler).model_fields
    return "masked_diffusion" if "denoising_steps" in fields else "causal"


AnySampler = Annotated[
    Annotated[Sampler, Tag("masked_diffusion")] | Annotated[CausalSampler, Tag("causal")], Discriminator(_kind)
]


class EvaluationSettings(Section):
    """All that the results of an evaluation depend on, but the tasks."""

    engine: Engine
    """What runs the model."""
    model: ModelSection
    prompts: PromptSettings = PromptSettings()
    sampler: AnySampler
    """Of a masked-diffusion model, or of a causal one."""
    samples: Positive = 1
    """Completions per task."""
    seed: NonNegative = 0
    """Keys every random number, together with the task's place in its file and the sample."""
    stop: tuple[str, ...] = ()
    """The text of a completion ends before the first of these."""
    tensor_parallel_size: Positive = 1
    """GPUs, or processes on a CPU, that a model is split over; vllm only."""

    @property
    def causal(self) -> bool:
        """Whether the model is a causal one."""
        return isinstance(self.sampler, CausalSampler)
