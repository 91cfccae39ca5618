"""Estimators beside the exact values of what they estimate, on a model small enough to enumerate every mask.

The estimates come from the shipped code, driven by scripted random numbers; the exact values are sums over subsets
of the log-probabilities of all 16 canvases, in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Literal

import pytest

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.views import Estimator, SampleKey
from tests.likelihood_tools import (
    KEY,
    LENGTH,
    TEXT,
    Canvases,
    Outcome,
    bits,
    chance,
    gauss,
    joint,
    masks,
    mean,
    one_mask,
    one_subset,
    scripted_views,
)

Weighting = Literal["paper", "normalized"]
EVERYTHING = tuple(range(LENGTH))
LOW, HIGH = 0.2, 0.8


@pytest.fixture(scope="module", params=[0, 1])
def canvases(request: pytest.FixtureRequest) -> Canvases:
    return Canvases(request.param)


def enumerated(
    canvases: Canvases, patch: pytest.MonkeyPatch, estimator: Estimator, outcomes: Iterable[Outcome]
) -> list[float]:
    return mean((p, canvases.estimate(scripted_views(patch, estimator, draws))) for p, draws in outcomes)


def moment(i: int, j: int, low: float, high: float) -> float:
    """E[r^i (1 - r)^j] of r ~ U(low, high), exactly, by the binomial theorem."""
    a, b = Fraction(str(low)), Fraction(str(high))
    terms = (
        comb(j, m) * (-1) ** m * (b ** (i + m + 1) - a ** (i + m + 1)) / Fraction(i + m + 1) for m in range(j + 1)
    )
    return float(sum(terms, Fraction(0)) / (b - a))


def where_masked(canvases: Canvases, k: int, low: float, high: float) -> float:
    """E[l_k(M) | k is in M], others in M with probability r, r ~ U(low, high) or r = low where both are one."""
    others = [i for i in EVERYTHING if i != k]
    total = 0.0
    for size in range(LENGTH):
        inside, outside = size, LENGTH - 1 - size
        p = low**inside * (1 - low) ** outside if low == high else moment(inside, outside, low, high)
        total += p * sum(canvases.logprob((k, *chosen), k) for chosen in combinations(others, size))
    return total


def coupled(canvases: Canvases, pairs: int, low: float, high: float) -> list[float]:
    """The coupled estimate's mean, paper weights."""
    return [
        (
            canvases.logprob(EVERYTHING, k)
            + pairs * (where_masked(canvases, k, low, high) + where_masked(canvases, k, 1 - high, 1 - low))
        )
        / (pairs + 1)
        for k in EVERYTHING
    ]


def elbo(canvases: Canvases) -> list[float]:
    """sum over l of 1/L E[l_k(M) | |M| = l, k in M]: the evidence lower bound's share of each token."""
    found = []
    for k in EVERYTHING:
        others = [i for i in EVERYTHING if i != k]
        means = []
        for count in range(1, LENGTH + 1):
            scores = [canvases.logprob((k, *chosen), k) for chosen in combinations(others, count - 1)]
            means.append(sum(scores) / len(scores))
        found.append(sum(means) / LENGTH)
    return found


def close(one: Sequence[float], other: Sequence[float]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < 1e-6


def test_the_model_tells_canvases_apart(canvases: Canvases) -> None:
    """Else every estimator would estimate one quantity, and the tests below would show nothing."""
    assert not close(elbo(canvases), [canvases.logprob(EVERYTHING, k) for k in EVERYTHING])
    assert not close(coupled(canvases, 1, LOW, HIGH), [1.5 * value for value in elbo(canvases)])


@pytest.mark.parametrize(("pairs", "complements"), [(1, True), (2, True), (1, False)])
@pytest.mark.parametrize("weighting", ["paper", "normalized"])
@pytest.mark.parametrize("ratio", [0.2, 0.35, 0.5])
def test_coupled_and_decoupled_at_a_given_ratio(
    canvases: Canvases,
    monkeypatch: pytest.MonkeyPatch,
    pairs: int,
    complements: bool,
    weighting: Weighting,
    ratio: float,
) -> None:
    """The ratio of each pair is r; where nothing is coupled, the pair's second view is drawn at 1 - r."""
    estimator = CoupledEstimator(pairs, (LOW, HIGH), weighting, complements)
    pair = [one_mask([(ratio, 1.0)])] if complements else [one_mask([(ratio, 1.0)]), one_mask([(1 - ratio, 1.0)])]
    exact = coupled(canvases, pairs, ratio, ratio)
    if weighting == "normalized":
        exact = [value * (pairs + 1) / (2 * pairs + 1) for value in exact]
    assert close(enumerated(canvases, monkeypatch, estimator, joint(*pair * pairs)), exact)


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("bounds", [(LOW, HIGH), (0.1, 0.6)])
def test_coupled_over_all_ratios(
    canvases: Canvases, monkeypatch: pytest.MonkeyPatch, pairs: int, bounds: tuple[float, float]
) -> None:
    nodes = gauss(*bounds, 12 if pairs == 1 else 4)
    found = enumerated(canvases, monkeypatch, CoupledEstimator(pairs, bounds), joint(*[one_mask(nodes)] * pairs))
    assert close(found, coupled(canvases, pairs, *bounds))


def test_decoupled_over_all_ratios(canvases: Canvases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same mean as coupled, as the range of ratios is symmetric."""
    estimator = CoupledEstimator(1, (LOW, HIGH), complements=False)
    found = enumerated(canvases, monkeypatch, estimator, joint(*[one_mask(gauss(LOW, HIGH, 4))] * 2))
    assert close(found, coupled(canvases, 1, LOW, HIGH))


@pytest.mark.parametrize("pairs", [1, 2])
def test_counted_elbo(canvases: Canvases, monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    found = enumerated(canvases, monkeypatch, CountedElboEstimator(pairs), joint(*[one_subset()] * pairs))
    assert close(found, elbo(canvases))


def test_the_bound_as_a_sum_over_counts_is_the_integral_over_ratios(canvases: Canvases) -> None:
    assert close(elbo(canvases), [where_masked(canvases, k, 0.0, 1.0) for k in EVERYTHING])


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_quadrature_elbo(canvases: Canvases, monkeypatch: pytest.MonkeyPatch, nodes: int) -> None:
    """Exact where the degree, L - 1 = 3, is at most 2 nodes - 1; one node takes everything at ratio 1/2."""
    rule = gauss(0.0, 1.0, nodes)
    parts = [[(chance(m, ratio), (bits(m),)) for m in masks()] for ratio, _ in rule]
    outcomes = ((p, [rows]) for p, rows in joint(*parts))
    found = enumerated(canvases, monkeypatch, QuadratureElboEstimator(nodes), outcomes)
    at_nodes = [sum(w * where_masked(canvases, k, t, t) for t, w in rule) for k in EVERYTHING]
    assert close(found, at_nodes)
    assert close(found, elbo(canvases)) == (nodes > 1)


@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_full_mask(canvases: Canvases, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    prompt = len(TEXT.prompt_ids)
    everywhere = (p for p in ((chance(m, share), ([bits(m)],)) for m in masks(prompt)) if p[0] > 0)
    found = enumerated(canvases, monkeypatch, FullMaskEstimator(share), everywhere)
    exact = [
        sum(
            chance(m, share) * canvases.logprob(EVERYTHING, k, [i for i in range(prompt) if m[i]])
            for m in masks(prompt)
        )
        for k in EVERYTHING
    ]
    assert close(found, exact)


@pytest.mark.parametrize(("start", "iteration", "ratio"), [(0.3, 0, 0.3), (0.3, 1, 0.55), (0.9, 2, 0.4)])
def test_random_mask(
    canvases: Canvases, monkeypatch: pytest.MonkeyPatch, start: float, iteration: int, ratio: float
) -> None:
    """A token counts where it is masked, with weight 1: r times its mean there."""
    estimator, key = RandomMaskEstimator(iterations=4), SampleKey(KEY.seed, KEY.group, KEY.sample, iteration)

    def estimate(mask: Sequence[bool]) -> list[float]:
        return canvases.estimate(scripted_views(monkeypatch, estimator, [[bits(mask)]], key, mask_ratio=[start]))

    found = mean((chance(m, ratio), estimate(m)) for m in masks())
    assert close(found, [ratio * where_masked(canvases, k, ratio, ratio) for k in EVERYTHING])


def test_random_mask_over_all_starts(canvases: Canvases, monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate(mask: Sequence[bool], start: float) -> list[float]:
        views = scripted_views(monkeypatch, RandomMaskEstimator(), [[bits(mask)]], mask_ratio=[start])
        return canvases.estimate(views)

    found = mean((w * chance(m, r), estimate(m, r)) for r, w in gauss(0.0, 1.0, 8) for m in masks())
    exact = []
    for k in EVERYTHING:
        subsets = [frozenset(i for i in EVERYTHING if m[i]) for m in masks()]
        of_k = [s for s in subsets if k in s]
        exact.append(sum(moment(len(s), LENGTH - len(s), 0.0, 1.0) * canvases.logprob(s, k) for s in of_k))
    assert close(found, exact)
