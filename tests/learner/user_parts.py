"""An estimator and an objective as a user writes them; the ranks import them by their path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from common.likelihood.views import SampleKey, Text, Views
from learner.batch import TokenRows
from learner.objectives.objective import SampleBySample, Sums
from learner.samples import TrainingSample


@dataclass(frozen=True)
class Parts:
    """Masks the left ``share`` of the completion, then the rest."""

    share: float = 0.5

    complete = True

    def views(self, key: SampleKey, text: Text) -> Views:
        length = len(text.completion_ids)
        left = np.arange(length) < self.share * length
        masks = np.stack([left, ~left])
        return Views(masks, masks.astype(float))


class Reinforce(SampleBySample, BaseModel):
    """Minus ``scale`` times advantage times log-likelihood."""

    model_config = ConfigDict(extra="forbid")

    scale: float = Field(default=1.0, gt=0)

    @property
    def by_token(self) -> bool:
        return True

    @property
    def needs_old(self) -> bool:
        return False

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("objective/log_likelihood",)

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        return float(sum(sample.valid_tokens for samples in linked for sample in samples))

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        estimates = tokens.estimates(log_probs)
        loss = -self.scale * (tokens.advantages[tokens.owner] * estimates).sum()
        return Sums(loss, {"objective/log_likelihood": estimates.detach().sum()}, units=len(estimates))


class Unfinished:
    """Lacks what an objective needs."""
