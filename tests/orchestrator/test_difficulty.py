"""The difficulty filter, with a simulated model that solves some tasks always, some never, and learns."""

from __future__ import annotations

import random

from common.records import Task, TestCase
from orchestrator.curriculum import Curriculum
from orchestrator.difficulty import DifficultyFilter

TASKS = [Task(id=f"t{i}", prompt="p", tests=(TestCase(call="f()", expected="1"),)) for i in range(200)]
GROUP_SIZE = 8


def share_of_use(revisit: float, groups: int = 2000, learned_at: int = 10**9) -> tuple[float, set[str]]:
    """The share of groups with a signal, and the hard tasks that had one; they are learned at some group."""
    draw = random.Random(1)
    solved = {task.id: (1.0, 0.5, 0.0, 0.0)[number % 4] for number, task in enumerate(TASKS)}
    hard = {name for name, share in solved.items() if share == 0.0}
    chosen = DifficultyFilter(Curriculum(TASKS, seed=3), seed=3, revisit=revisit)
    flat: dict[str, int] = {}
    useful, found = 0, set()
    for index in range(groups):
        if index == learned_at:
            solved |= dict.fromkeys(hard, 0.5)
        task = chosen.task(index).id
        passed = sum(draw.random() < solved[task] for _ in range(GROUP_SIZE))
        if 0 < passed < GROUP_SIZE:
            useful += index >= groups // 2
            found |= {task} & hard
            flat.pop(task, None)
        else:
            flat[task] = index
        if index % 16 == 15:  # a step ends
            chosen.learn(dict(flat))
    return useful / (groups // 2), found


def test_groups_go_to_tasks_that_the_model_solves_sometimes() -> None:
    assert 0.2 < share_of_use(1.0)[0] < 0.3
    assert share_of_use(0.1)[0] > 0.6
    assert share_of_use(0.0)[0] > 0.9


def test_tasks_that_were_too_hard_are_found_again_once_the_model_can() -> None:
    hard = len(TASKS) // 2
    assert len(share_of_use(0.3, groups=4000, learned_at=1000)[1]) > 0.9 * hard
    assert len(share_of_use(0.0, learned_at=1000)[1]) < 0.1 * hard


def test_a_task_depends_on_the_index_and_on_what_was_known_alone() -> None:
    flat = {task.id: 0 for task in TASKS[::2]}
    first, again = (DifficultyFilter(Curriculum(TASKS, seed=3), 3, 0.2) for _ in range(2))
    first.learn(flat)
    again.learn(flat)
    expected = {index: first.task(index).id for index in range(300)}
    backwards = {index: again.task(index).id for index in reversed(range(300))}
    assert backwards == expected
    own = Curriculum(TASKS, seed=3)
    assert all(expected[index] == own.task(index).id for index in range(300) if own.task(index).id not in flat)


def test_where_all_tasks_are_flat_groups_get_tasks_all_the_same() -> None:
    chosen = DifficultyFilter(Curriculum(TASKS, seed=3), 3, 0.0)
    chosen.learn({task.id: 0 for task in TASKS})
    assert {chosen.task(index).id for index in range(50)} <= {task.id for task in TASKS}


def test_by_default_tasks_come_as_they_come() -> None:
    chosen, own = DifficultyFilter(Curriculum(TASKS, seed=3), 3, 1.0), Curriculum(TASKS, seed=3)
    chosen.learn({task.id: 0 for task in TASKS})
    assert [chosen.task(index).id for index in range(250)] == [own.task(index).id for index in range(250)]
