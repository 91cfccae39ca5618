"""Kendall's tau, average first-passage and AR-ness at any k, beside plain loops and values worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations, product

import pytest

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from evaluation.analysis.order import (
    ar_ness,
    average_first_passage,
    kendall_tau,
    masked_to_the_left,
    tied_pairs,
)

#: Four tokens of text from left to right, after a tail of four that was filled from the right; position 4 never
#: was.
TAIL_FIRST = (4, 5, 6, 7, -1, 3, 2, 1, 0)


def naive_tau(step_map: Sequence[int]) -> float | None:
    ordered = disordered = tied = 0
    committed = [(position, step) for position, step in enumerate(step_map) if step >= 0]
    for (left, early), (right, late) in combinations(committed, 2):
        assert left < right
        ordered += early < late
        disordered += early > late
        tied += early == late
    untied = ordered + disordered
    return (ordered - disordered) / math.sqrt(untied * (untied + tied)) if untied else None


def naive_first_passage(step_map: Sequence[int]) -> float | None:
    committed = [step for step in step_map if step >= 0]
    clock = sorted(set(committed))
    passages = []
    for front in range(1, len(committed) + 1):
        now = 0
        while any(step > clock[now] for step in committed[:front]):
            now += 1
        passages.append(now + 1)
    return sum(passages) / len(passages) / len(clock) if passages else None


def test_left_to_right_and_right_to_left() -> None:
    assert kendall_tau([0, 1, 2, 3]) == 1
    assert kendall_tau([3, 2, 1, 0]) == -1
    assert average_first_passage([0, 1, 2, 3]) == pytest.approx((1 + 2 + 3 + 4) / 4 / 4)
    assert average_first_passage([3, 2, 1, 0]) == 1


@pytest.mark.parametrize(
    ("step_map", "tau", "passage"),
    [
        # 0 1 | 0 2 | 0 3 | 1 2 | 1 3 | 2 3: five in order, one out of it. All up to 1 is there after step 3 of 4.
        ((0, 2, 1, 3), 4 / 6, (1 + 3 + 3 + 4) / 4 / 4),
        # 0 1 | 0 2 | 0 3 | 1 2 are in order, 1 3 | 2 3 are not. All up to 2 is there after the last step.
        ((0, 2, 3, 1), (4 - 2) / 6, (1 + 3 + 4 + 4) / 4 / 4),
        # Step numbers do not matter, their order does: steps that commit nothing are not counted.
        ((0, 20, 10, 31), 4 / 6, (1 + 3 + 3 + 4) / 4 / 4),
        ((7,), None, 1.0),
        ((), None, None),
        ((-1, -1), None, None),
    ],
)
def test_values_worked_out_by_hand(step_map: tuple[int, ...], tau: float | None, passage: float | None) -> None:
    assert kendall_tau(step_map) == (None if tau is None else pytest.approx(tau))
    assert average_first_passage(step_map) == (None if passage is None else pytest.approx(passage))


@pytest.mark.parametrize(
    ("step_map", "tau", "tied", "passage"),
    [
        # Two tokens a step from left to right: of 6 pairs 4 are in order and 2 tied; steps 1 1 2 2 of 2.
        ((0, 0, 1, 1), 4 / math.sqrt(4 * 6), 2 / 6, (1 + 1 + 2 + 2) / 4 / 2),
        # The same from right to left: nothing is passed before the last step.
        ((1, 1, 0, 0), -4 / math.sqrt(4 * 6), 2 / 6, 1.0),
        # All at once: tau does not exist.
        ((5, 5, 5), None, 1.0, 1.0),
        # 0 and 2 together, then 1: 0 before 1 in order, 1 after 2 out of order, 0 and 2 tied.
        ((0, 1, 0), 0.0, 1 / 3, (1 + 2 + 2) / 3 / 2),
    ],
)
def test_positions_of_one_step_are_tied(
    step_map: tuple[int, ...], tau: float | None, tied: float, passage: float
) -> None:
    assert kendall_tau(step_map) == (None if tau is None else pytest.approx(tau))
    assert tied_pairs(step_map) == pytest.approx(tied)
    assert average_first_passage(step_map) == pytest.approx(passage)


def test_commits_behind_the_end_of_the_text_count_in_the_executed_order_alone() -> None:
    text = TAIL_FIRST[:4]
    assert ar_ness(text, (1, 3)) == {"local@1": 1, "local@3": 1, "global@1": 1, "global@3": 1}
    assert (kendall_tau(text), average_first_passage(text)) == (1, pytest.approx(2.5 / 4))
    # 6 pairs of the text in order; 6 of the tail and 16 between them out of order.
    assert kendall_tau(TAIL_FIRST) == pytest.approx((6 - 22) / 28)
    # Passages 5 6 7 8, and the tail, which is there long before, with the last of the text: 8 8 8 8.
    assert average_first_passage(TAIL_FIRST) == pytest.approx((5 + 6 + 7 + 8 * 5) / 8 / 8)
    # Order 8 7 6 5 0 1 2 3. Local: 0 1, 1 2, 2 3 of 7 steps. Global at 1: 0 1 2 3, as 4 stays masked behind them.
    assert ar_ness(TAIL_FIRST, (1,)) == {"local@1": pytest.approx(3 / 7), "global@1": pytest.approx(4 / 8)}
    # When 5 was committed, 0 to 4 were masked to its left; before 6, 7 and 8 there was one more each.
    found = ar_ness(TAIL_FIRST, (5, 6, 7, 9))
    assert [found[f"global@{k}"] for k in (5, 6, 7, 9)] == [4 / 8, 5 / 8, 6 / 8, 8 / 8]


def test_all_step_maps_of_five_against_loops() -> None:
    for step_map in product(range(-1, 3), repeat=5):
        assert kendall_tau(step_map) == pytest.approx(naive_tau(step_map))
        assert average_first_passage(step_map) == pytest.approx(naive_first_passage(step_map))


def test_ar_ness_of_many_k_is_that_of_each() -> None:
    chance = random.Random(3)
    ks = (1, 2, 3, 5, 8, 100)
    for _ in range(60):
        size = chance.randint(0, 40)
        steps = [chance.randint(-1, max(1, size // chance.choice([1, 4]))) for _ in range(size)]
        order, never = decode_order(steps), never_committed(steps)
        found = ar_ness(steps, ks)
        for k in ks:
            if len(order) > k:
                assert found.pop(f"local@{k}") == pytest.approx(local_ar_ness(order, k))
            if order:
                assert found.pop(f"global@{k}") == pytest.approx(global_ar_ness(order, k, never))
        assert not found  # there is no step to judge


def test_masked_to_the_left_counts_later_and_never_committed_positions() -> None:
    assert masked_to_the_left(TAIL_FIRST).tolist() == [0, 0, 0, 0, 5, 6, 7, 8]
    assert masked_to_the_left((1, 1, 0)).tolist() == [0, 0, 2]
    assert masked_to_the_left(()).tolist() == []
