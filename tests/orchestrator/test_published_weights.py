"""Which update workers are to hold."""

from __future__ import annotations

import gc
import weakref

import pytest

from common.weights.layout import Layout, Manifest
from common.weights.messages import WeightsUpdate
from orchestrator.fleet.published import PublishedWeights


class Bucket:
    """What lies in the object store for as long as somebody refers to it."""


def update(version: int, *buckets: Bucket) -> WeightsUpdate:
    return WeightsUpdate(Manifest(version, Layout(())), buckets)


def publish(weights: PublishedWeights, version: int, *buckets: Bucket) -> int:
    number = weights.begin()
    assert weights.end(update(version, *buckets)).number == number
    return number


def versions(weights: PublishedWeights) -> int | None:
    return weights.target.version if weights.target else None


def test_the_newest_is_the_target_unless_one_is_held() -> None:
    weights = PublishedWeights()
    assert weights.target is None
    numbers = [publish(weights, version) for version in (4, 5)]
    assert numbers == [1, 2]
    weights.hold()
    publish(weights, 6)
    weights.hold()  # the same one
    publish(weights, 2)
    assert (versions(weights), weights.held) == (5, True)
    weights.release()
    assert (versions(weights), weights.held) == (2, False)
    weights.release()


def test_updates_of_one_version_are_told_apart_and_so_are_those_that_were_not_published_to_the_end() -> None:
    """Some worker may have received all of a broadcast whose sender died."""
    weights = PublishedWeights()
    first = publish(weights, 3)
    failed = weights.begin()
    assert weights.target is None
    assert len({first, failed, publish(weights, 3)}) == 3


def test_there_is_nothing_to_hold_before_the_first() -> None:
    with pytest.raises(RuntimeError, match="no weights have been published"):
        PublishedWeights().hold()


@pytest.mark.parametrize("held", [False, True])
def test_one_update_lies_in_the_store_when_the_next_is_published_or_two_while_held(held: bool) -> None:
    weights = PublishedWeights()
    kept: weakref.WeakSet[Bucket] = weakref.WeakSet()

    def add(version: int) -> None:
        weights.begin()
        gc.collect()
        assert len(kept) <= int(held)
        bucket = Bucket()
        kept.add(bucket)
        weights.end(update(version, bucket))

    add(0)
    if held:
        weights.hold()
    for version in range(1, 5):
        add(version)
    assert len(kept) == 1 + int(held)
