"""The confidences of a model at its first denoising steps, as an evaluation records them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Steps that an evaluation records.
FIRST_STEPS = 8


class StepConfidence(BaseModel):
    """What a model says of its masked positions at one step; ``step`` counts forward passes from 0.

    The confidence of a position is the probability of its likeliest token at temperature 1, unfiltered. By
    position [L], over the completions in which it is masked at this step: ``masked`` counts them, ``mean`` and
    ``variance`` are those of the confidence, ``entropy`` is the mean entropy in nats; ``None`` where there is
    none. ``spread`` is the mean over completions of the variance of the confidence over their masked positions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    masked: tuple[int, ...]
    mean: tuple[float | None, ...]
    variance: tuple[float | None, ...]
    entropy: tuple[float | None, ...]
    spread: float


class FirstSteps(BaseModel):
    """The confidences of a cell on a benchmark; a completion that is finished is in no later step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    benchmark: str
    steps: tuple[StepConfidence, ...]
