"""What is evaluated and how its completions are sampled; printed beside the results, which depend on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter

from common.config import ModelSection, Section
from common.config.base import NonNegative, Positive
from common.records import Sampler
from common.sampler import Temperature
from evaluation.templates import Template

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


#: Of a masked-diffusion model, or of a causal one.
AnySampler = Annotated[
    Annotated[Sampler, Tag("masked_diffusion")] | Annotated[CausalSampler, Tag("causal")], Discriminator(_kind)
]
#: Reads one of either kind.
SAMPLERS: TypeAdapter[Sampler | CausalSampler] = TypeAdapter(AnySampler)


class Cell(Section):
    """One combination of a grid: how the tasks are put, how completions are sampled, and their seed."""

    name: str
    """Tells the cells of an evaluation apart: ``plain,T0.2,steps512,seed0``; a causal model's has no steps."""
    template: str
    """The name of the template that puts tasks to the model."""
    sampler: AnySampler
    seed: NonNegative
    """Keys every random number, together with the task's place in its file and the sample."""

    @classmethod
    def of(cls, template: str, sampler: AnySampler, seed: int) -> Self:
        """Make the cell, named by what it combines."""
        steps = f",steps{sampler.denoising_steps}" if isinstance(sampler, Sampler) else ""
        name = f"{template},T{sampler.temperature!r}{steps},seed{seed}"
        return cls(name=name, template=template, sampler=sampler, seed=seed)

    @property
    def denoising_steps(self) -> int | None:
        """The denoising steps; None of a causal model."""
        return self.sampler.denoising_steps if isinstance(self.sampler, Sampler) else None


class EvaluationSettings(Section):
    """All that the results of an evaluation depend on, but the tasks."""

    engine: Engine
    """What runs the model."""
    model: ModelSection
    templates: Annotated[tuple[Template, ...], Field(min_length=1)]
    """How tasks are put to the model, by the names that cells have."""
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]
    """Each evaluates every task; they differ in template, temperature, denoising steps or seed."""
    samples: Positive = 1
    """Completions per task in each cell."""
    tensor_parallel_size: Positive = 1
    """GPUs, or processes on a CPU, that a model is split over; vllm only."""

    def grid(self) -> dict[str, tuple[Any, ...]]:
        """Return the values that the cells have of what they can differ in; a causal model's steps are None."""
        cells = self.cells
        return {
            "template": tuple(dict.fromkeys(cell.template for cell in cells)),
            "temperature": tuple(dict.fromkeys(cell.sampler.temperature for cell in cells)),
            "denoising_steps": tuple(dict.fromkeys(cell.denoising_steps for cell in cells)),
            "seed": tuple(dict.fromkeys(cell.seed for cell in cells)),
        }

    @property
    def causal(self) -> bool:
        """Whether the model is a causal one."""
        return isinstance(self.cells[0].sampler, CausalSampler)
