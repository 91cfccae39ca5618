from __future__ import annotations

from itertools import permutations

import pytest

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness


@pytest.mark.parametrize(
    ("order", "local", "left_most"),
    [
        ([], 1, 1),
        ([3], 1, 1),
        ([0, 1, 2, 3], 1, 1),
        ([3, 2, 1, 0], 0, 1 / 4),
        ([1, 0], 0, 1 / 2),
        ([0, 2, 1, 3], 0, 3 / 4),
        ([2, 3, 0, 1], 2 / 3, 2 / 4),
        ([1, 2, 0, 3], 1 / 3, 2 / 4),
        ([4, 7, 9], 0, 1),
    ],
)
def test_enumerated_cases(order: list[int], local: float, left_most: float) -> None:
    assert local_ar_ness(order) == pytest.approx(local)
    assert global_ar_ness(order) == pytest.approx(left_most)


def test_both_measures_are_one_for_left_to_right_alone() -> None:
    for order in permutations(range(5)):
        is_left_to_right = order == tuple(range(5))
        assert (local_ar_ness(order) == 1) == is_left_to_right
        assert (global_ar_ness(order) == 1) == is_left_to_right


@pytest.mark.parametrize(
    ("step_map", "order"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([2, 1, 0], [2, 1, 0]),
        ([1, 0, 1, 0], [1, 3, 0, 2]),
        ([1, -1, 0, -1], [2, 0]),
        ([-1, -1], []),
        ([0, 0, 0], [0, 1, 2]),
    ],
)
def test_decode_order_goes_by_step_then_left_to_right_without_uncommitted(
    step_map: list[int], order: list[int]
) -> None:
    assert decode_order(step_map) == order
