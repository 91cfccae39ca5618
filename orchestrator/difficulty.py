"""Which tasks get a group: those that the model solves neither always nor never, and now and then the others.

A group without a learning signal costs as much as any. What its task is worth changes as the model learns, so such
a task is drawn again with some chance. Pure: a function of the seed, the group's index, and what the learner knew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from common import rng
from common.records import Task

#: Where most tasks carry no signal, one of so many is taken all the same.
_DRAWS = 20


class Tasks(Protocol):
    """Tasks by the index of a group, epoch after epoch."""

    def __len__(self) -> int:
        """Return the count of tasks, which is that of an epoch."""

    def task(self, index: int) -> Task:
        """Return the task of the group with this index."""


class DifficultyFilter:
    """Give each group its task, or another of the same epoch for one whose last group carried no signal.

    Such a task is taken all the same with the chance ``revisit``; 1 takes all as they come.
    """

    def __init__(self, tasks: Tasks, seed: int, revisit: float) -> None:
        self._tasks = tasks
        self._seed = seed
        self._revisit = revisit
        self._flat: Collection[str] = ()

    def learn(self, flat: Collection[str]) -> None:
        """Take note of all tasks, by their ids, whose last group carried no signal."""
        self._flat = flat

    def task(self, index: int) -> Task:
        """Return the task of the group with this index."""
        task = self._tasks.task(index)
        if not self._flat or self._revisit >= 1:
            return task
        draws = rng.stream(self._seed, "difficulty", index)
        epoch = index - index % len(self._tasks)
        for _ in range(_DRAWS):
            if task.id not in self._flat or draws.random() < self._revisit:
                break
            task = self._tasks.task(epoch + int(draws.integers(len(self._tasks))))
        return task
