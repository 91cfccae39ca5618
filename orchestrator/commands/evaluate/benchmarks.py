"""The task sets that an evaluation names, as benchmarks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.config import ConfigError, DataConfig, RewardConfig, source_name
from common.records import Task
from common.tasks.hub import task_file
from common.tasks.loader import load_tasks
from evaluation.benchmark import Benchmark
from learner.warm_start.synthetic import generate
from reward_service.scorable import why_unscorable

#: The held-out tasks of the quick start, which are made, not read.
QUICKSTART = "builtin:quickstart"
_BUILTIN = "builtin:"
#: That of its recipe, which draws the tasks; what an evaluation is sampled with is another matter.
_QUICKSTART_SEED = 0
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class TaskSource:
    """One of TASKS, ``text`` as the user wrote it, and ``name`` as its results are called.

    ``where`` the rows are; their ``format`` by name, or None for each row's by its fields.
    """

    text: str
    where: str
    format: str | None
    name: str

    @classmethod
    def read(cls, text: str, default_format: str | None) -> TaskSource:
        """Read ``[FORMAT=]FILE``, ``[FORMAT=]hub:OWNER/NAME[/FILE]`` or ``builtin:quickstart``.

        Raises ConfigError for other built-in tasks, and for a format of those.
        """
        format_name, equals, where = text.partition("=")
        if not equals or Path(text).exists():
            format_name, equals, where = default_format or "", "", text
        if where.startswith(_BUILTIN) and not Path(where).exists():
            if where != QUICKSTART:
                raise ConfigError(f"{text}: known built-in tasks: {QUICKSTART}")
            if format_name:
                given = text if equals else f"--format {format_name}"
                raise ConfigError(f"{given}: {QUICKSTART} is made, not read from a file; leave the format out")
        if not equals:
            return cls(text, text, default_format, _name(text))
        return cls(text, where, format_name, f"{_name(where)}.{_NOT_IN_NAMES.sub('-', format_name)}")

    def tasks(self, scoring: RewardConfig, notes: list[str]) -> list[Task]:
        """Load the tasks; add lines to ``notes`` for what is left out. Raises TaskFileError and ConfigError."""
        if self.where == QUICKSTART:
            fields = DataConfig.model_fields
            made = generate(_QUICKSTART_SEED, fields["train_tasks"].default, fields["held_out_tasks"].default)
            return [drawn.task for drawn in made.held_out]
        report = load_tasks(task_file(self.where), self.format, self.text if "=" in self.text else "--format")
        for omissions, what in ((report.skipped, "tasks skipped"), (report.left_out, "tests left out")):
            if omissions:
                line, task_id, reason = omissions[0]
                notes.append(f"{self.text}: {len(omissions)} {what}; the first: row {line} ({task_id}): {reason}")
        reasons = {task.id: reason for task in report.tasks if (reason := why_unscorable(task, scoring))}
        for reason, count in Counter(reasons.values()).most_common():
            notes.append(f"{self.text}: {count} of {len(report.tasks)} tasks left out: {reason}")
        tasks = [task for task in report.tasks if task.id not in reasons]
        if not tasks:
            why = f"; {next(iter(reasons.values()))}" if reasons else ""
            raise ConfigError(f"{self.text}: no usable task{why}")
        return tasks


def load_benchmarks(
    sources: Sequence[str], format_name: str | None, limit: int | None, scoring: RewardConfig, notes: list[str]
) -> list[Benchmark]:
    """Load task files, the first ``limit`` tasks of each; add a line to ``notes`` for what is left out.

    Left out are tasks that ``scoring`` cannot score: it would show only once they are completed. Raises
    TaskFileError, and ConfigError for two files of one name and one of which no task can be used.
    """
    read = [TaskSource.read(source, format_name) for source in sources]
    names = [source.name for source in read]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(
                f"{sources[number]}: another file is named {name} too, and so would be its results; rename one"
            )
    return [Benchmark(source.name, source.text, tuple(source.tasks(scoring, notes)[:limit])) for source in read]


def _name(where: str) -> str:
    return where.removeprefix(_BUILTIN) if where == QUICKSTART else source_name(where)
