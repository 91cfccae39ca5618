from __future__ import annotations

import pytest

from learner.minibatches import Linked, minibatches
from learner.samples import TrainingSample
from tests.learner.learner_tools import make_samples


def linked_of(sizes: list[int]) -> list[list[TrainingSample]]:
    """Single samples of groups of these sizes."""
    samples = iter(make_samples(sum(sizes)))
    return [[sample_of(next(samples), group)] for group, size in enumerate(sizes) for _ in range(size)]


def sample_of(sample: TrainingSample, group: int) -> TrainingSample:
    return TrainingSample(**{**vars(sample), "group": group})


def groups_in(share: list[Linked]) -> list[int]:
    return list(dict.fromkeys(samples[0].group for samples in share))


@pytest.mark.parametrize(
    ("sizes", "count", "groups"),
    [
        ([2, 3, 1, 2], 1, [[0, 1, 2, 3]]),
        ([2, 3, 1, 2], 2, [[0, 1], [2, 3]]),
        ([2, 3, 1, 2], 3, [[0, 1], [2], [3]]),
        ([2, 3, 1, 2], 4, [[0], [1], [2], [3]]),
    ],
)
def test_minibatches_are_whole_groups_in_their_order(
    sizes: list[int], count: int, groups: list[list[int]]
) -> None:
    linked = linked_of(sizes)
    shares = minibatches(linked, count)
    assert [groups_in(share) for share in shares] == groups
    assert [samples for share in shares for samples in share] == linked


@pytest.mark.parametrize(("count", "sizes"), [(3, [2, 2, 1]), (5, [1] * 5), (16, [1] * 5)])
def test_where_groups_are_fewer_they_are_cut(count: int, sizes: list[int]) -> None:
    linked = linked_of([3, 2])
    shares = minibatches(linked, count)
    assert [len(share) for share in shares] == sizes
    assert [samples for share in shares for samples in share] == linked


def test_what_is_linked_is_never_cut() -> None:
    samples = [sample_of(sample, 0) for sample in make_samples(6)]
    pairs = [samples[:2], samples[2:4], samples[4:]]
    assert minibatches(pairs, 4) == [[pair] for pair in pairs]


def test_nothing_makes_no_minibatch() -> None:
    assert minibatches([], 3) == []
