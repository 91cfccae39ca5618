"""The mismatch meter: how far what a rollout worker computed is from what the learner computes.

Both have the same weights, so the log-probabilities of one token on one canvas differ by rounding alone. Where
they differ by more, rollouts come from another policy than the one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common import rng
from common.likelihood.trace import TraceEstimator
from common.likelihood.views import Views
from common.records import TrajectoryGroup
from learner.partition import Piece
from learner.samples import TrainingSample

#: Denoising steps that are scored again: a measurement takes forward passes over so many canvases.
MOST_STEPS = 16

LogProbs = npt.NDArray[np.float64]
#: Computes the estimates [L] of the tokens that a piece's views measure, given the views of its whole sample.
Score = Callable[[Piece, Views], LogProbs]


class Comparable(NamedTuple):
    """A rollout, and the log-probabilities [L] under its model that its worker recorded."""

    sample: TrainingSample
    recorded: tuple[float, ...]


class MismatchMeter:
    """Measures one rollout every ``interval`` versions, or never where that is 0.

    Rollout and denoising steps are drawn by ``seed`` and version: the same on every rank.
    """

    def __init__(self, interval: int, seed: int, score: Score) -> None:
        self._interval = interval
        self._seed = seed
        self._score = score

    def measure(self, groups: Sequence[TrajectoryGroup], version: int) -> dict[str, float]:
        """Compare a rollout of ``groups`` with the learner's weights, which are of ``version``.

        Returns flat metrics: none where none is due, and where no rollout can be compared. Every rank must make
        this call.
        """
        if not self._interval or version % self._interval:
            return {}
        found = comparable(groups, version)
        if not found:
            return {}
        draws = rng.stream(self._seed, "mismatch", version)
        sample, recorded = found[draws.integers(len(found))]
        views = TraceEstimator().views(sample.key(self._seed, 0), sample)
        steps = len(views.masks)
        chosen = np.sort(draws.choice(steps, min(steps, MOST_STEPS), replace=False))
        scored = self._score(Piece(sample, tuple(chosen.tolist())), views)
        measured = views.measured(sample)[chosen].any(0)
        return mismatch(np.asarray(recorded)[measured], scored[measured])


def comparable(groups: Sequence[TrajectoryGroup], version: int) -> list[Comparable]:
    """Find the rollouts whose log-probabilities the weights of ``version`` must give again, up to rounding.

    Those are the ones that these weights alone have denoised, by exact passes.
    """
    return [
        Comparable(
            TrainingSample.of(
                group.rollouts.prompt_ids, rollout, group=group.prompt.index, sample=rollout.sample, advantage=0.0
            ),
            rollout.model_logprobs,
        )
        for group in groups
        if group.rollouts is not None and not group.prompt.sampler.remembers
        for rollout in group.rollouts.rollouts
        if rollout.versions == (version, version)
    ]


def mismatch(recorded: LogProbs, scored: LogProbs) -> dict[str, float]:
    """Compute the metrics of n tokens, given their log-probabilities [n] as recorded and by the learner.

    The effective sample size of weights w is (sum w)^2 / sum w^2 (Kish), here as a share of n.
    """
    difference = scored - recorded
    weights = np.exp(difference - difference.max())  # the scale of weights does not matter
    return {
        "mismatch/mean": float(np.abs(difference).mean()),
        "mismatch/max": float(np.abs(difference).max()),
        "mismatch/kl": float(-difference.mean()),
        "mismatch/effective_share": float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum())),
    }
