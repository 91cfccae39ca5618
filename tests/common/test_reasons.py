from __future__ import annotations

import pytest

from common.reasons import FewReasons, kind_of


@pytest.mark.parametrize(
    "other",
    [
        "reward.functions: judge raised KeyError: 'colour', on task 'b/17'",
        'reward.functions: judge raised KeyError: "it\'s", on task 4',
    ],
)
def test_the_same_mistake_is_of_one_kind_whatever_it_was_made_on(other: str) -> None:
    assert kind_of("reward.functions: judge raised KeyError: 'level', on task 'a'").startswith(
        kind_of(other).partition(", on")[0]
    )
    assert kind_of("judge did not answer within 60 s") == kind_of("judge did not answer within 2.5 s")
    assert kind_of("judge raised KeyError: 'level'") != kind_of("judge raised ValueError: 'level'")


def test_a_few_of_each_kind_are_told_and_then_their_number() -> None:
    notes: list[str] = []
    reasons = FewReasons(notes.append)
    for number in range(100):
        reasons.add("a group is lost", f"judge raised KeyError: {number}")
        reasons.add("a group is lost", "judge is gone")
    reasons.add("a completion is excluded", "judge is gone")
    told = [f"a group is lost: judge raised KeyError: {number}" for number in range(3)]
    counted = [f"a group is lost: judge raised KeyError: {n - 1} ({n} times, such reasons)" for n in (10, 100)]
    assert [note for note in notes if "KeyError" in note] == told + counted
    assert [note for note in notes if "gone" in note] == [
        "a group is lost: judge is gone",
        "a group is lost: judge is gone (10 times, such reasons)",
        "a group is lost: judge is gone (100 times, such reasons)",
        "a completion is excluded: judge is gone",
    ]


def test_reasons_without_end_are_told_to_an_end() -> None:
    notes: list[str] = []
    reasons = FewReasons(notes.append)
    for number in range(5000):
        reasons.add("a group is lost", "x" * number)
    assert len(notes) < 120
