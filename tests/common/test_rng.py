from __future__ import annotations

import itertools

import numpy as np

from common.rng import stream


def test_same_key_same_numbers_whatever_was_drawn_before() -> None:
    first = stream(3, "noise", 1, 2).random(100)
    stream(3, "noise", 1, 3).random(7)
    np.random.default_rng(0).random(5)
    assert np.array_equal(stream(3, "noise", 1, 2).random(100), first)


def test_a_shorter_draw_is_a_prefix_of_a_longer_one() -> None:
    assert np.array_equal(stream(0, "noise", 5).random(8), stream(0, "noise", 5).random(64)[:8])


def test_numbers_do_not_depend_on_the_order_in_which_streams_are_made() -> None:
    keys = [(seed, purpose, i) for seed in (0, 1) for purpose in ("a", "b") for i in range(5)]
    forward = {key: stream(*key).random() for key in keys}
    backward = {key: stream(*key).random() for key in reversed(keys)}
    assert forward == backward


def test_every_part_of_the_key_matters() -> None:
    keys = [
        (0, "noise"),
        (1, "noise"),
        (0, "masks"),
        (0, "noise", 0),
        (0, "noise", 0, 0),
        (0, "noise", 1, 23),
        (0, "noise", 12, 3),
        (0, "noise", 23, 1),
        (0, "noise", -1),
        (2**63, "noise"),
        (2**64, "noise"),
    ]
    draws = [tuple(stream(*key).integers(0, 2**63, 4)) for key in keys]
    assert len(set(draws)) == len(keys)


def test_neighbouring_streams_are_uniform_and_uncorrelated() -> None:
    samples = np.stack([stream(0, "noise", 0, i).random(4000) for i in range(12)])
    deviation = 1 / np.sqrt(samples.shape[1])
    assert np.abs(samples.mean(1) - 0.5).max() < 5 * deviation * np.sqrt(1 / 12)
    for a, b in itertools.combinations(samples, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 * deviation


def test_first_numbers_of_neighbouring_streams_are_uniform() -> None:
    first = np.array([stream(0, "noise", group, 0).random() for group in range(3000)])
    counts, _ = np.histogram(first, bins=10, range=(0, 1))
    assert ((counts - 300) ** 2 / 300).sum() < 28  # chi-square, 9 degrees of freedom, p = 0.001


def test_numbers_are_pinned_so_that_old_runs_replay() -> None:
    assert stream(0, "noise", 1, 2).integers(0, 1000, 4).tolist() == [315, 148, 324, 237]
