"""The task sets that an evaluation names, as benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.config import ConfigError, DataConfig
from common.records import Task
from common.tasks.loader import load_tasks
from evaluation.benchmark import Benchmark
from learner.warm_start.synthetic import generate

#: The held-out tasks of the quick start, which are made, not read.
QUICKSTART = "builtin:quickstart"
#: That of its recipe, which draws the tasks; what an evaluation is sampled with is another matter.
_QUICKSTART_SEED = 0


def load_benchmarks(
    sources: Sequence[str],
    format_name: str | None,
    limit: int | None,
    notes: list[str],
) -> list[Benchmark]:
    """Load task files, the first ``limit`` tasks of each; add a line to ``notes`` for what is left out.

    Raises TaskFileError, and ConfigError for two files of one name.
    """
    names = [_name(source) for source in sources]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(
                f"{sources[number]}: another file is named {name} too, and so would be its results; rename one"
            )
    return [
        Benchmark(name, source, tuple(_read(source, format_name, notes)[:limit]))
        for name, source in zip(names, sources, strict=True)
    ]


def _name(source: str) -> str:
    return source.removeprefix("builtin:") if source == QUICKSTART else Path(source).name.partition(".")[0]


def _read(source: str, format_name: str | None, notes: list[str]) -> list[Task]:
    if source == QUICKSTART:
        fields = DataConfig.model_fields
        made = generate(_QUICKSTART_SEED, fields["train_tasks"].default, fields["held_out_tasks"].default)
        return [drawn.task for drawn in made.held_out]
    report = load_tasks(source, format_name)
    for omissions, what in ((report.skipped, "tasks skipped"), (report.left_out, "tests left out")):
        if omissions:
            line, task_id, reason = omissions[0]
            notes.append(f"{source}: {len(omissions)} {what}; the first: row {line} ({task_id}): {reason}")
    if not report.tasks:
        raise ConfigError(f"{source}: no usable task")
    return list(report.tasks)
