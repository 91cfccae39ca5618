"""The interface of an objective: how log-probabilities become a loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from learner.samples import TrainingSample

if TYPE_CHECKING:
    from torch import Tensor

    from learner.batch import TokenRows


@dataclass(frozen=True)
class Sums:
    """Sums over the units that an objective counts (tokens, samples, groups or pairs).

    The engine divides ``loss`` by the count of the update, over all ranks and micro-batches. ``metrics`` are
    detached sums over the ``units`` that the rows measure, and are divided by those: an estimator may leave out
    some.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    units: int


class Objective(Protocol):
    """A loss of completions and their advantages. One of yours can be named in a recipe (docs/extending.md)."""

    @property
    def by_token(self) -> bool:
        """Whether the loss is a sum over tokens, so that it can be taken for some of them at a time."""

    @property
    def needs_old(self) -> bool:
        """Whether :meth:`sums` reads the estimates under the weights that the step began with."""

    @property
    def needs_reference(self) -> bool:
        """Whether :meth:`sums` reads the estimates under the reference policy."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that :meth:`sums` reports."""

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        """Return the samples that have a part in the loss, those of one term of it together.

        All samples of a term are of one group.
        """

    def count(self, linked: Sequence[Sequence[TrainingSample]]) -> float:
        """Return how many units the loss is averaged over."""

    def sums(self, tokens: TokenRows, log_probs: Tensor) -> Sums:
        """Compute the loss of some tokens, given the log-probabilities [m] of the rows that measure them."""


class SampleBySample:
    """An objective no term of which has more than one sample in it."""

    def link(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        return [[sample] for sample in samples]


def by_group(samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
    """Split samples into their groups, in the order in which these first occur."""
    groups: dict[int, list[TrainingSample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    return list(groups.values())


def sum_per_sample(tokens: TokenRows, values: Tensor) -> Tensor:
    """Add up token values [T] over each of the n samples, [n]."""
    return values.new_zeros(len(tokens.samples)).index_add(0, tokens.owner, values)
