"""Evidence lower bounds by subsets whose sizes are spread evenly."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from common.likelihood.elbo_systematic import SystematicElboEstimator
from common.likelihood.views import SampleKey, Text
from tests.likelihood_tools import LENGTH, Canvases, Outcome, mean, scripted_views


def exact_bound(canvases: Canvases) -> list[float]:
    """sum over l of 1/L E[l_k(M) | |M| = l, k in M], over all subsets."""
    found = []
    for k in range(LENGTH):
        others = [i for i in range(LENGTH) if i != k]
        sizes = []
        for count in range(LENGTH):
            scores = [canvases.logprob((k, *chosen), k) for chosen in combinations(others, count)]
            sizes.append(sum(scores) / len(scores))
        found.append(sum(sizes) / LENGTH)
    return found


def outcomes(subsets: int) -> list[Outcome]:
    """Every draw of the first size, uniform in 1..L, and of the positions of each subset."""
    found: list[Outcome] = []
    for start in range(1, LENGTH + 1):
        sizes = [(start + number * LENGTH // subsets - 1) % LENGTH + 1 for number in range(subsets)]
        share = 1 / LENGTH
        for size in sizes:
            share /= comb(LENGTH, size)
        for chosen in product(*(combinations(range(LENGTH), size) for size in sizes)):
            orders = [[*first, *(k for k in range(LENGTH) if k not in first)] for first in chosen]
            found.append((share, (start, *orders)))
    return found


@pytest.mark.parametrize("subsets", [1, 2])
def test_its_mean_is_the_evidence_lower_bound(monkeypatch: pytest.MonkeyPatch, subsets: int) -> None:
    canvases, estimator = Canvases(), SystematicElboEstimator(subsets)
    drawn = outcomes(subsets)
    found = mean((p, canvases.estimate(scripted_views(monkeypatch, estimator, draws))) for p, draws in drawn)
    assert found == pytest.approx(exact_bound(canvases), abs=1e-6)


@pytest.mark.parametrize(("valid", "subsets"), [(12, 4), (10, 4), (3, 5), (1, 2)])
def test_sizes_are_spread_over_the_text_and_nothing_else_is_masked(valid: int, subsets: int) -> None:
    text = Text(prompt_ids=(3,), completion_ids=(2,) * 12, valid_tokens=valid)
    firsts = set()
    for group in range(60):
        views = SystematicElboEstimator(subsets).views(SampleKey(0, group, 1, 0), text)
        sizes = views.masks.sum(1)
        firsts.add(int(sizes[0]))
        steps = np.diff(sizes) % valid
        assert np.abs((steps - valid / subsets + valid / 2) % valid - valid / 2).max() <= 1  # both are rounded
        assert sizes.min() >= 1
        assert not views.masks[:, valid:].any()
        # Each view by itself is a draw of the bound: its weights have the sum that those of all tokens have.
        assert subsets * views.weights.sum(1) == pytest.approx([valid] * subsets)
        assert views.of_draws() == [(number,) for number in range(subsets)]
    assert firsts == set(range(1, valid + 1))
