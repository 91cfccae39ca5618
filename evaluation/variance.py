"""Bias and variance of likelihood estimates over their masks: estimators side by side, at their cost.

The figures are exact on a text small enough to enumerate every mask (:mod:`.variance_exact`), or Monte Carlo on a
real model (:mod:`.variance_sampled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, inf, sqrt

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.views import Estimator


@dataclass(frozen=True)
class Contender:
    """An estimator in the table. ``cost`` counts its views: sequences in a forward pass.

    Its variance is put in relation to that of the coupled estimator with ``pairs`` pairs.
    """

    name: str
    setting: str
    pairs: int
    cost: int
    estimator: Estimator


def _of(pairs: int) -> list[Contender]:
    views, setting = 2 * pairs + 1, f"{pairs} pair{'s' * (pairs > 1)}"
    apart = CoupledEstimator(pairs, weighting="normalized", complements=False)
    return [
        Contender("coupled", setting, pairs, views, CoupledEstimator(pairs, weighting="normalized")),
        Contender("decoupled", setting, pairs, views, apart),
        Contender("elbo", setting, pairs, 2 * pairs, CountedElboEstimator(pairs)),
        Contender("elbo_quadrature", f"{views} nodes", pairs, views, QuadratureElboEstimator(views)),
    ]


#: Weights are normalized: they add up to 1 in the mean, so that all estimates have one scale. ``full_mask`` masks
#: no prompt tokens here, and so draws nothing.
CONTENDERS = (Contender("full_mask", "", 1, 1, FullMaskEstimator(0.0)), *_of(1), *_of(2))
#: Both halves of its one pair are views 1 and 2, their weights divided by 3.
COUPLED = next(c for c in CONTENDERS if c.name == "coupled")
COUPLED_TOTAL = 3.0


@dataclass(frozen=True)
class Figure:
    """A number and its standard error: 0 where nothing was drawn."""

    value: float
    error: float = 0.0

    def __sub__(self, other: Figure) -> Figure:
        """The difference of two independent figures."""
        return Figure(self.value - other.value, hypot(self.error, other.error))


def average(figures: Sequence[Figure]) -> Figure:
    """Average independent figures."""
    count = len(figures)
    return Figure(sum(f.value for f in figures) / count, sqrt(sum(f.error**2 for f in figures)) / count)


@dataclass(frozen=True)
class Spread:
    """Mean and variance of an estimate over its masks, in nats and nats squared."""

    mean: Figure
    variance: Figure


@dataclass(frozen=True)
class Comparison:
    """Figures of one estimator at one level.

    ``bias`` is against the evidence lower bound. ``relative`` is variance times cost, in units of the coupled
    estimator's with as many pairs: the ratio of the variances at the same number of forward views.
    """

    mean: Figure
    bias: Figure
    variance: Figure
    relative: Figure


@dataclass(frozen=True)
class EstimatorRow:
    """A line of the table: a contender's, with the mean over the tokens of a token's log-likelihood (``token``)
    and their sum (``sequence``)."""

    name: str
    setting: str
    pairs: int
    cost: int
    token: Comparison
    sequence: Comparison


@dataclass(frozen=True)
class Analysis:
    """The table; by level (``token``, ``sequence``) the evidence lower bound, and the covariance of the two halves
    of a coupled pair, B l(B) / r and not-B l(not B) / (1 - r)."""

    rows: tuple[EstimatorRow, ...]
    elbo: dict[str, Figure]
    pair_covariance: dict[str, Figure]


def compare(
    spreads: Mapping[Contender, Mapping[str, Spread]],
    elbo: dict[str, Figure],
    pair_covariance: dict[str, Figure],
) -> Analysis:
    """Put the spreads of all contenders, by level, in relation to each other."""
    references = {c.pairs: (c, spread) for c, spread in spreads.items() if c.name == COUPLED.name}
    rows = []
    for contender, spread in spreads.items():
        reference, of_reference = references[contender.pairs]
        levels = {
            level: Comparison(
                spread[level].mean,
                spread[level].mean - elbo[level],
                spread[level].variance,
                _relative(contender, spread[level], reference, of_reference[level]),
            )
            for level in elbo
        }
        rows.append(EstimatorRow(contender.name, contender.setting, contender.pairs, contender.cost, **levels))
    return Analysis(tuple(rows), elbo, pair_covariance)


def _relative(contender: Contender, spread: Spread, reference: Contender, other: Spread) -> Figure:
    """The ratio with its error to first order, for independent draws."""
    if contender is reference or other.variance.value == 0:
        return Figure(1.0) if contender is reference else Figure(inf)
    value = spread.variance.value * contender.cost / (other.variance.value * reference.cost)
    if not value:
        return Figure(0.0)
    shares = (f.error / f.value for f in (spread.variance, other.variance))
    return Figure(value, value * hypot(*shares))
