"""The tasks of a run as its sources have them: read, put to the model, and those left out that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.config import ConfigError, DataConfig, RewardConfig, TaskSource
from common.models.prompts import PromptEncoder
from common.records import Task
from common.tasks.hub import task_file
from common.tasks.loader import LoadReport, load_tasks
from common.tasks.questions import posed
from reward_service.scorable import why_unscorable

_REASONS = 4
Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class ReadSource:
    """A source and what was read of it; the ids of its tasks begin with its name where there are several."""

    source: TaskSource
    report: LoadReport


def read_sources(data: DataConfig, split: Split, *, download: bool = True) -> list[ReadSource]:
    """Read the sources of a split, none where it has none. Raises TaskFileError.

    Without ``download`` a data set of the Hub has to be in the cache.
    """
    sources: Sequence[TaskSource] = getattr(data, split)
    return [_read(data, split, source, download, alone=len(sources) == 1) for source in sources]


def _read(data: DataConfig, split: Split, source: TaskSource, download: bool, alone: bool) -> ReadSource:
    field = f"data.{split}_format" if source.format is None else f"data.{split} {source.path}: format"
    format_name = source.format or getattr(data, f"{split}_format")
    report = load_tasks(Path(task_file(source.path, download=download)), format_name, field, data.metadata)
    tasks = (posed(task, data) for task in report.tasks)
    if not alone:
        tasks = (task.model_copy(update={"id": f"{source.label}/{task.id}"}) for task in tasks)
    return ReadSource(source, replace(report, tasks=tuple(tasks)))


def usable_tasks(
    data: DataConfig,
    split: Split,
    read: ReadSource,
    encoder: PromptEncoder | None,
    scoring: RewardConfig | None,
    notes: list[str],
) -> list[Task]:
    """Leave out the tasks with long prompts and those that ``scoring`` cannot score; note these, and what the
    loader left out.

    Without an ``encoder`` no prompt is measured; ``scoring`` is None where another machine scores. Raises
    ConfigError, which says why, where no task is left.
    """
    report, where = read.report, f"data.{split}"
    if len(getattr(data, split)) > 1:
        where = f"{where} {read.source.label}"
    lengths = [0 if encoder is None else len(encoder.encode(task)) for task in report.tasks]
    short = [t for t, length in zip(report.tasks, lengths, strict=True) if length <= data.max_prompt_tokens]
    unscorable = {} if scoring is None else {t.id: why for t in short if (why := why_unscorable(t, scoring))}
    tasks = [task for task in short if task.id not in unscorable]
    if not tasks:
        raise ConfigError(f"{where}: no usable task: {_why_none(data, report, lengths, unscorable)}")
    notes += [f"{where}: {reason}" for reason in _why_left_out(unscorable)]
    for omissions, what in ((report.skipped, "tasks skipped"), (report.left_out, "tests left out")):
        if omissions:
            line, task_id, reason = omissions[0]
            notes.append(f"{where}: {len(omissions)} {what}; the first: row {line} ({task_id}): {reason}")
    if len(short) < len(report.tasks):
        notes.append(
            f"{where}: {len(report.tasks) - len(short)} tasks have prompts of more than "
            f"{data.max_prompt_tokens} tokens (data.max_prompt_tokens)"
        )
    return tasks


def _why_left_out(unscorable: Mapping[str, str]) -> list[str]:
    """Say how many tasks are left out for each of the reasons that most of them share."""
    reasons = Counter(unscorable.values()).most_common()
    lines = [f"{count} tasks left out: {reason}" for reason, count in reasons[:_REASONS]]
    if others := sum(count for _, count in reasons[_REASONS:]):
        lines.append(f"{others} tasks more left out, for {len(reasons) - _REASONS} other reasons of the kind")
    return lines


def _why_none(data: DataConfig, report: LoadReport, lengths: Sequence[int], unscorable: Mapping[str, str]) -> str:
    reasons = []
    if long := [length for length in lengths if length > data.max_prompt_tokens]:
        reasons.append(
            f"{len(long)} have prompts of more than {data.max_prompt_tokens} tokens, the shortest of "
            f"{min(long)}; raise data.max_prompt_tokens"
        )
    reasons += _why_left_out(unscorable)
    if report.skipped:
        row, task_id, reason = report.skipped[0]
        reasons.append(f"{len(report.skipped)} were skipped, the first, {report.unit} {row} ({task_id}): {reason}")
    return "; ".join(reasons)
