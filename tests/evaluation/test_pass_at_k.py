from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest

from evaluation.pass_at_k import pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 7])
def test_it_is_the_share_of_subsets_that_hold_one_that_passes(samples: int) -> None:
    for passed in range(samples + 1):
        verdicts = [number < passed for number in range(samples)]
        for k in range(1, samples + 1):
            share = fmean(any(subset) for subset in combinations(verdicts, k))
            assert pass_at_k(samples, passed, k) == pytest.approx(share, abs=1e-12)


def test_many_samples_lose_no_precision() -> None:
    """A product of floats, or a difference of logarithms, would."""
    assert pass_at_k(10_000, 1, 100) == 0.01
    assert pass_at_k(1000, 0, 100) == 0.0
    assert pass_at_k(1000, 901, 100) == 1.0


@pytest.mark.parametrize(("samples", "passed", "k"), [(3, 1, 0), (3, 1, 4), (3, 4, 1), (3, -1, 1), (0, 0, 1)])
def test_what_it_is_not_defined_for_is_refused(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="must be from"):
        pass_at_k(samples, passed, k)
