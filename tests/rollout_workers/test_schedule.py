from __future__ import annotations

from rollout_workers.schedule import budget


def test_budgets_add_up_to_the_length_for_every_number_of_steps() -> None:
    for length in range(1, 80):
        for steps in range(1, length + 1):
            budgets = [budget(step, steps, length) for step in range(steps)]
            assert sum(budgets) == length
            assert max(budgets) - min(budgets) <= 1
            assert min(budgets) >= 1


def test_more_steps_than_tokens_leave_steps_empty() -> None:
    assert sorted(budget(step, 7, 3) for step in range(7)) == [0, 0, 0, 0, 1, 1, 1]


def test_one_step_commits_everything_and_length_steps_one_each() -> None:
    assert budget(0, 1, 28) == 28
    assert [budget(step, 28, 28) for step in range(28)] == [1] * 28
