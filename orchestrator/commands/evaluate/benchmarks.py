"""The task sets that an evaluation names, as benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.config import ConfigError, DataConfig
from common.models.prompts import PromptEncoder
from common.records import Task
from common.tasks.loader import load_tasks
from common.tasks.questions import as_question
from evaluation.harness import Benchmark
from evaluation.settings import EvaluationSettings
from evaluation.subject import Subject
from learner.warm_start.synthetic import generate

#: The held-out tasks of the quick start, which are made, not read.
QUICKSTART = "builtin:quickstart"


def load_benchmarks(
    sources: Sequence[str],
    format_name: str | None,
    limit: int | None,
    subject: Subject,
    encoder: PromptEncoder,
    settings: EvaluationSettings,
    notes: list[str],
) -> list[Benchmark]:
    """Load task files, the first ``limit`` tasks of each; add a line to ``notes`` for what is left out.

    Raises TaskFileError, RequestError for a prompt that is too long, and ConfigError for two files of one name.
    """
    names = [_name(source) for source in sources]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(
                f"{sources[number]}: another file is named {name} too, and so would be its results; rename one"
            )
    found = []
    for name, source in zip(names, sources, strict=True):
        tasks = _read(source, format_name, settings.seed, notes)[:limit]
        if settings.prompts.chat_template:
            tasks = [as_question(task) for task in tasks]
        prompts = subject.encode(encoder, tasks, settings.sampler)
        found.append(Benchmark(name, tuple(tasks), tuple(prompts)))
    return found


def _name(source: str) -> str:
    return source.removeprefix("builtin:") if source == QUICKSTART else Path(source).name.partition(".")[0]


def _read(source: str, format_name: str | None, seed: int, notes: list[str]) -> list[Task]:
    if source == QUICKSTART:
        fields = DataConfig.model_fields
        made = generate(seed, fields["train_tasks"].default, fields["held_out_tasks"].default)
        return [drawn.task for drawn in made.held_out]
    report = load_tasks(source, format_name)
    for omissions, what in ((report.skipped, "tasks skipped"), (report.left_out, "tests left out")):
        if omissions:
            line, task_id, reason = omissions[0]
            notes.append(f"{source}: {len(omissions)} {what}; the first: row {line} ({task_id}): {reason}")
    if not report.tasks:
        raise ConfigError(f"{source}: no usable task")
    return list(report.tasks)
