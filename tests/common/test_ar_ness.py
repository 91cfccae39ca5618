from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations, product

import pytest

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed


def naive_local(order: Sequence[int], k: int) -> float:
    hits = []
    for t in range(len(order)):
        if t >= k:
            committed = {order[t - back] for back in range(1, k + 1)}
            wanted = {order[t] - back for back in range(1, k + 1)}
            hits.append(committed == wanted)
    return sum(hits) / len(hits) if hits else 1.0


def naive_global(order: Sequence[int], k: int) -> float:
    masked, hits = set(order), 0
    for position in order:
        hits += position in sorted(masked)[:k]
        masked.remove(position)
    return hits / len(order) if order else 1.0


ENUMERATED = [
    ([], 1, 1, 1),
    ([], 3, 1, 1),
    ([3], 1, 1, 1),
    ([0, 1, 2, 3], 1, 1, 1),
    ([0, 1, 2, 3], 3, 1, 1),
    ([0, 1, 2, 3], 4, 1, 1),  # too short to judge
    ([3, 2, 1, 0], 1, 0, 1 / 4),
    ([3, 2, 1, 0], 2, 0, 2 / 4),
    ([3, 2, 1, 0], 4, 1, 1),
    ([1, 0], 1, 0, 1 / 2),
    ([0, 2, 1, 3], 1, 0, 3 / 4),
    ([0, 2, 1, 3], 2, 1 / 2, 1),  # 3 comes right after {1, 2}
    ([2, 3, 0, 1], 1, 2 / 3, 2 / 4),
    ([2, 3, 0, 1], 2, 0, 2 / 4),
    ([1, 2, 0, 3], 1, 1 / 3, 2 / 4),
    ([1, 2, 0, 3], 3, 1, 1),
    ([2, 0, 1, 3, 4], 3, 1 / 2, 1),  # 3 after {0, 1, 2}, in whatever order; before 4 came {0, 1, 3}
    ([4, 7, 9], 1, 0, 1),
]


def test_enumerated_cases() -> None:
    for order, k, local, left_most in ENUMERATED:
        assert local_ar_ness(order, k) == pytest.approx(local), (order, k)
        assert global_ar_ness(order, k) == pytest.approx(left_most), (order, k)


def test_all_orders_of_five_against_loops() -> None:
    for order, k in product(permutations(range(5)), range(1, 7)):
        assert local_ar_ness(order, k) == pytest.approx(naive_local(order, k))
        assert global_ar_ness(order, k) == pytest.approx(naive_global(order, k))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_random_orders_against_loops(k: int) -> None:
    chance = random.Random(k)
    for _ in range(50):
        size = chance.randint(6, 80)
        positions = sorted(chance.sample(range(size + 5), size))
        # Shuffled runs, so that some steps are next to each other and others are far apart.
        cuts = sorted(chance.sample(range(1, size), 5))
        runs = [positions[a:b] for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
        chance.shuffle(runs)
        order = [p for run in runs for p in (run if chance.random() < 0.7 else chance.sample(run, len(run)))]
        assert local_ar_ness(order, k) == pytest.approx(naive_local(order, k))
        assert global_ar_ness(order, k) == pytest.approx(naive_global(order, k))


def test_at_one_both_measures_are_one_for_left_to_right_alone() -> None:
    for order in permutations(range(5)):
        is_left_to_right = order == tuple(range(5))
        assert (local_ar_ness(order) == 1) == is_left_to_right
        assert (global_ar_ness(order) == 1) == is_left_to_right


def test_left_to_right_has_one_for_every_k() -> None:
    for k in (1, 2, 4, 63, 64, 100):
        assert local_ar_ness(range(64), k) == global_ar_ness(range(64), k) == 1


def test_only_the_global_measure_never_falls_with_k() -> None:
    for order in permutations(range(5)):
        values = [global_ar_ness(order, k) for k in range(1, 6)]
        assert values == sorted(values)
    assert (local_ar_ness([1, 0, 2], 1), local_ar_ness([1, 0, 2], 2)) == (0, 1)


def test_decode_order_goes_by_step_then_left_to_right_without_uncommitted() -> None:
    assert decode_order([0, 1, 2]) == [0, 1, 2]
    assert decode_order([2, 1, 0]) == [2, 1, 0]
    assert decode_order([1, 0, 1, 0]) == [1, 3, 0, 2]
    assert decode_order([1, -1, 0, -1]) == [2, 0]
    assert decode_order([-1, -1]) == []
    assert decode_order([0, 0, 0]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("step_map", "k", "local", "left_most"),
    [
        ([0, 0, 0, 0], 1, 1, 1),
        ([1, 1, 0, 0], 1, 2 / 3, 2 / 4),
        ([1, 1, 0, 0], 2, 0, 2 / 4),
        ([0, 1, 0, 1], 1, 0, 3 / 4),
        ([0, 1, 0, 1, -1], 2, 1 / 2, 1),
    ],
)
def test_several_tokens_in_one_step(step_map: list[int], k: int, local: float, left_most: float) -> None:
    order = decode_order(step_map)
    assert local_ar_ness(order, k) == pytest.approx(local)
    assert global_ar_ness(order, k) == pytest.approx(left_most)


def test_positions_that_are_never_committed_stay_masked() -> None:
    chance = random.Random(9)
    for _ in range(200):
        positions = chance.sample(range(12), 12)
        order, never = positions[:8], sorted(positions[8:])
        for k in (1, 2, 4):
            masked, hits = set(positions), 0
            for position in order:
                hits += position in sorted(masked)[:k]
                masked.remove(position)
            assert global_ar_ness(order, k, never) == pytest.approx(hits / 8)
    assert (global_ar_ness([], 1, [0, 1]), never_committed([3, -1, 0, -1])) == (1, [1, 3])


def test_no_order_inside_the_steps_has_higher_global_ar_ness() -> None:
    for step_map, k in product(product(range(2), repeat=5), (1, 2, 3)):
        steps = [[p for p in range(5) if step_map[p] == step] for step in range(2)]
        possible = [(*first, *second) for first in permutations(steps[0]) for second in permutations(steps[1])]
        highest = max(global_ar_ness(order, k) for order in possible)
        assert global_ar_ness(decode_order(step_map), k) == highest


def test_local_ar_ness_can_be_higher_in_another_order_inside_a_step() -> None:
    order = decode_order([0, 1, -1, -1, -1, 0])
    assert order == [0, 5, 1]
    assert (local_ar_ness(order), local_ar_ness([5, 0, 1])) == (0, 1 / 2)
