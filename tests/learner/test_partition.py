from __future__ import annotations

from collections import Counter

import pytest

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_systematic import SystematicElboEstimator
from common.likelihood.left_to_right import LeftToRightEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.trace import TraceEstimator
from common.likelihood.views import Estimator
from learner.partition import MicroBatch, Piece, micro_batches, tokens_of, units
from tests.learner.learner_tools import make_samples

SAMPLES = make_samples(9)
LINKED = [[sample] for sample in SAMPLES]


def work_of(batches: list[list[MicroBatch]]) -> Counter[tuple[int, int, int]]:
    """How often each view of each sample is scored."""
    return Counter(
        (p.sample.group, p.sample.sample, view)
        for share in batches
        for batch in share
        for p in batch
        if not p.idle
        for view in p.views
    )


@pytest.mark.parametrize("ranks", [1, 2, 3, 20])
@pytest.mark.parametrize("batch_tokens", [1, 70, 100_000])
@pytest.mark.parametrize("estimator", [CoupledEstimator(2), LeftToRightEstimator()])
def test_every_view_is_scored_once_and_ranks_take_as_many_passes(
    ranks: int, batch_tokens: int, estimator: Estimator
) -> None:
    parts = units(LINKED, estimator, seed=0, by_token=True)
    batches = micro_batches(parts, ranks, batch_tokens)
    assert len(batches) == ranks
    assert len({len(share) for share in batches}) == 1
    views = {(s.group, s.sample): len(estimator.views(s.key(0, 0), s).masks) for s in SAMPLES}
    assert work_of(batches) == Counter({(*key, v): 1 for key, count in views.items() for v in range(count)})
    largest = max(tokens_of(part) for part in parts)
    assert all(tokens_of(batch) <= max(batch_tokens, largest) for share in batches for batch in share)


def test_ranks_get_about_the_same_work() -> None:
    parts = units(LINKED, CoupledEstimator(), seed=0, by_token=True)
    loads = [sum(tokens_of(batch) for batch in share) for share in micro_batches(parts, 3, 100)]
    assert max(loads) - min(loads) <= max(tokens_of(part) for part in parts)


@pytest.mark.parametrize(("ranks", "seen"), [(1, 3), (2, 4), (3, 3)])
def test_samples_of_a_prompt_go_to_one_rank_as_far_as_that_is_fair(ranks: int, seen: int) -> None:
    """Their masked completion is then computed once a rank."""
    samples = make_samples(12)  # three groups of four
    parts = units([[sample] for sample in samples], CoupledEstimator(), seed=1, by_token=True)
    assert all(piece.blank == 1 for part in parts for piece in part)  # no pair of masks covers everything
    shares = micro_batches(parts, ranks, batch_tokens=10**6)
    prompts = [{piece.sample.prompt_ids for batch in share for piece in batch} for share in shares]
    assert sum(map(len, prompts)) == seen


@pytest.mark.parametrize(("batch_tokens", "sizes"), [(9 * 9 - 1, [3, 1]), (9 * 9, [4])])
def test_what_a_prompts_samples_share_takes_room_once(batch_tokens: int, sizes: list[int]) -> None:
    group = LINKED[:4]  # 3 + 6 tokens each
    parts = units(group, CoupledEstimator(), seed=1, by_token=True)
    assert [piece.blank for part in parts for piece in part] == [1] * 4
    (batches,) = micro_batches(parts, 1, batch_tokens)
    assert [len(batch) for batch in batches] == sizes
    assert [tokens_of(batch) for batch in batches] == [9 * (1 + 2 * size) for size in sizes]


def test_a_rank_without_work_scores_nothing() -> None:
    parts = units(LINKED[:1], CoupledEstimator(), seed=0, by_token=True)
    first, second = micro_batches(parts, 2, 100)
    assert second == [(Piece(SAMPLES[0], (0,), idle=True),)]
    assert not first[0][0].idle


@pytest.mark.parametrize(
    ("estimator", "by_token", "apart"),
    [
        (CoupledEstimator(), True, False),  # a token is measured by the full mask and by one of a pair
        (TraceEstimator(), True, True),
        (TraceEstimator(), False, False),
        (LeftToRightEstimator(), True, True),
        (RandomMaskEstimator(), True, True),
    ],
)
def test_views_are_scored_apart_where_the_loss_allows_it(
    estimator: Estimator, by_token: bool, apart: bool
) -> None:
    parts = units(LINKED, estimator, seed=0, by_token=by_token)
    assert all(len(part) == 1 for part in parts)
    if apart:
        assert all(len(part[0].views) == 1 for part in parts)
    else:
        assert len(parts) == len(SAMPLES)


@pytest.mark.parametrize(
    ("estimator", "views"),
    [
        (CountedElboEstimator(3), [(0, 1), (2, 3), (4, 5)]),
        (SystematicElboEstimator(2), [(0,), (1,)]),
        (CoupledEstimator(2), [(0, 1, 2, 3, 4)]),  # its views make one estimate
    ],
)
def test_draws_are_scored_apart_where_the_loss_takes_each_by_itself(
    estimator: Estimator, views: list[tuple[int, ...]]
) -> None:
    parts = units(LINKED[:2], estimator, seed=0, by_token=False, by_draw=True)
    assert parts == [(Piece(sample, numbers),) for sample in SAMPLES[:2] for numbers in views]


def test_linked_samples_stay_together() -> None:
    pairs = [SAMPLES[:2], SAMPLES[2:4]]
    parts = units(pairs, CoupledEstimator(), seed=0, by_token=False)
    assert [[piece.sample for piece in part] for part in parts] == pairs
    (share,) = micro_batches(parts, 1, 1)
    assert sorted(len(batch) for batch in share) == [2, 2]
