"""Which task each group gets: a pure function of the run seed and the group's index.

Nothing has to be restored after a crash but the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from common import rng
from common.config import Config, ConfigError, DataConfig
from common.models.loading import local_model_folder
from common.models.prompts import PromptEncoder
from common.records import Task
from common.tasks.loader import LoadReport, load_tasks
from common.tasks.questions import posed
from learner.warm_start.synthetic import generate

_Split = Literal["train", "held_out"]
_SPLITS: tuple[_Split, ...] = ("train", "held_out")


class Curriculum:
    """Draw training tasks, epoch after epoch, each epoch in its own random order. Raises ConfigError for none."""

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        if not tasks:
            raise ConfigError("data.train: no usable task")
        self._tasks = tasks
        self._seed = seed
        self._epoch = -1
        self._order: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self._tasks)

    def task(self, index: int) -> Task:
        """Return the task of the group with this index."""
        epoch, offset = divmod(index, len(self._tasks))
        if epoch != self._epoch:
            self._order = rng.stream(self._seed, "task-order", epoch).permutation(len(self._tasks)).tolist()
            self._epoch = epoch
        return self._tasks[self._order[offset]]


def load_data(config: Config, notes: list[str]) -> tuple[list[Task], list[Task]]:
    """Load or generate the training and held-out tasks of a run; add a line to ``notes`` for what is left out.

    Raises TaskFileError and ModelError.
    """
    data = config.data
    if data.source == "synthetic":
        made = generate(config.run.seed, data.train_tasks, data.held_out_tasks)
        return [t.task for t in made.train], [t.task for t in made.held_out]
    files = [split for split in _SPLITS if getattr(data, split) is not None]
    reports = {split: _read(data, split) for split in files}
    encoder = PromptEncoder(config.model.path, data)
    tasks = {split: _short_enough(data, split, report, encoder, notes) for split, report in reports.items()}
    return tasks["train"], tasks.get("held_out", [])


def count_training_tasks(config: Config, notes: list[str]) -> int:
    """Count the training tasks that :func:`load_data` gives, as it does, without a look at the held-out ones.

    Downloads nothing: without the model's tokenizer tasks with long prompts are counted too, and ``notes`` say so.
    """
    data = config.data
    if data.source == "synthetic":
        return data.train_tasks
    report = _read(data, "train")
    if report.tasks and local_model_folder(config.model.path) is None:
        notes.append(
            f"data.train: counted with the prompts of more than {data.max_prompt_tokens} tokens, which are left "
            f"out later: {config.model.path} and its tokenizer are not on this machine"
        )
        return len(report.tasks)
    return len(_short_enough(data, "train", report, PromptEncoder(config.model.path, data), notes))


def _read(data: DataConfig, split: _Split) -> LoadReport:
    report = load_tasks(
        getattr(data, split), getattr(data, f"{split}_format"), f"data.{split}_format", data.metadata
    )
    return replace(report, tasks=tuple(posed(task, data) for task in report.tasks))


def _short_enough(
    data: DataConfig, split: _Split, report: LoadReport, encoder: PromptEncoder, notes: list[str]
) -> list[Task]:
    """Leave out the tasks with long prompts; note these, and what the loader left out."""
    tasks = [t for t in report.tasks if len(encoder.encode(t)) <= data.max_prompt_tokens]
    for omissions, what in ((report.skipped, "tasks skipped"), (report.left_out, "tests left out")):
        if omissions:
            line, task_id, reason = omissions[0]
            notes.append(f"data.{split}: {len(omissions)} {what}; the first: row {line} ({task_id}): {reason}")
    if len(tasks) < len(report.tasks):
        notes.append(
            f"data.{split}: {len(report.tasks) - len(tasks)} tasks have prompts of more than "
            f"{data.max_prompt_tokens} tokens (data.max_prompt_tokens)"
        )
    return tasks
