"""How far the learner is: its counts, and which groups it is done with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a group."""

    TRAINED = "trained"
    FILTERED = "filtered"
    DROPPED = "dropped"


@dataclass
class Progress:
    """The learner's counts and consumed groups: all of the data state that a checkpoint needs.

    ``version`` counts learner steps, ``updates`` optimizer steps. Consumed are all groups before ``next_index``,
    and those ``ahead`` of it, in order: groups that were trained or discarded before an earlier one had come.
    ``flat_tasks``: the tasks whose last group carried no learning signal, by id, with that group's index; kept
    where admission goes by it.
    """

    version: int = 0
    updates: int = 0
    next_index: int = 0
    trained: int = 0
    filtered: int = 0
    dropped: int = 0
    ahead: tuple[int, ...] = ()
    flat_tasks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ahead = tuple(self.ahead)  # JSON gives a list

    @property
    def consumed(self) -> int:
        """Groups that the learner is done with."""
        return self.trained + self.filtered + self.dropped

    @property
    def end(self) -> int:
        """The index after the last group that is consumed."""
        return self.ahead[-1] + 1 if self.ahead else self.next_index

    def holds(self, index: int) -> bool:
        """Tell whether the group with this index is consumed."""
        return index < self.next_index or index in self.ahead

    def count(self, index: int, outcome: Outcome) -> None:
        """Count the group with this index as consumed."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        ahead = {*self.ahead, index}
        while self.next_index in ahead:
            ahead.remove(self.next_index)
            self.next_index += 1
        self.ahead = tuple(sorted(ahead))

    def note_signals(self, groups: Iterable[tuple[int, str, bool]]) -> None:
        """Keep which tasks are flat, by the indices, the tasks and the signals of groups."""
        flat = dict(self.flat_tasks)
        for index, task, has_signal in sorted(groups):
            if not has_signal:
                flat[task] = max(index, flat.get(task, index))
            elif flat.get(task, index) < index:
                del flat[task]
        self.flat_tasks = flat
