"""Which task each group gets: a pure function of the run seed and the group's index.

Nothing has to be restored after a crash but the index.
"""

from __future__ import annotations

from collections.abc import Sequence

from common import rng
from common.config import Config, ConfigError
from common.models.prompts import PromptEncoder
from common.records import Task
from common.tasks.loader import load_tasks
from learner.warm_start.synthetic import generate


class Curriculum:
    """Draw training tasks, epoch after epoch, each epoch in its own random order. Raises ConfigError for none."""

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        if not tasks:
            raise ConfigError("data.train: no usable task")
        self._tasks = tasks
        self._seed = seed
        self._epoch = -1
        self._order: Sequence[int] = ()

    def task(self, index: int) -> Task:
        """Return the task of the group with this index."""
        epoch, offset = divmod(index, len(self._tasks))
        if epoch != self._epoch:
            self._order = rng.stream(self._seed, "task-order", epoch).permutation(len(self._tasks)).tolist()
            self._epoch = epoch
        return self._tasks[self._order[offset]]


def load_data(config: Config, notes: list[str]) -> tuple[list[Task], list[Task]]:
    """Load or generate the training and held-out tasks of a run; add a line to ``notes`` for what is left out.

    Raises TaskFileError.
    """
    data = config.data
    if data.source == "synthetic":
        made = generate(config.run.seed, data.train_tasks, data.held_out_tasks)
        return [t.task for t in made.train], [t.task for t in made.held_out]
    encoder = PromptEncoder(config.model.path, data.chat_template)
    splits = []
    for name in ("train", "held_out"):
        path = getattr(data, name)
        tasks: list[Task] = []
        if path is not None:
            report = load_tasks(path, getattr(data, f"{name}_format"), f"data.{name}_format", data.metadata)
            tasks = [t for t in report.tasks if len(encoder.encode(t)) <= data.max_prompt_tokens]
            if report.skipped:
                line, task_id, reason = report.skipped[0]
                notes.append(
                    f"data.{name}: {len(report.skipped)} tasks skipped; "
                    f"the first: row {line} ({task_id}): {reason}"
                )
            if report.left_out:
                line, task_id, reason = report.left_out[0]
                notes.append(
                    f"data.{name}: {len(report.left_out)} tests left out; "
                    f"the first: row {line} ({task_id}): {reason}"
                )
            if len(tasks) < len(report.tasks):
                notes.append(
                    f"data.{name}: {len(report.tasks) - len(tasks)} tasks have prompts of more than "
                    f"{data.max_prompt_tokens} tokens (data.max_prompt_tokens)"
                )
        splits.append(tasks)
    return splits[0], splits[1]
