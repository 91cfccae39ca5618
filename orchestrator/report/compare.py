"""Several runs side by side: their figures, what their configurations differ in, and their held-out tasks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import ConfigError
from orchestrator.report.charts import COLOURS
from orchestrator.report.growing_lines import Record, is_number
from orchestrator.report.panels import window
from orchestrator.report.recorded_run import RecordedRun, check_run_folder, read_run
from orchestrator.report.text import clean
from orchestrator.report.verdicts import chance, is_complete, programs_by_task

#: What tells runs apart without being a choice of the experiment.
_IDENTITY = frozenset({"run.name", "run.id", "run.folder", "run.about"})


@dataclass(frozen=True)
class RunFigures:
    """The figures of a run; None for what it lacks, and for what only runs of the other kind have.

    ``reward`` and ``loss`` are means of its last fifth of steps; held-out losses are means over the ratios.
    """

    label: str
    folder: str
    status: str
    steps: int
    planned: int | None
    pass_rate_before: float | None
    pass_rate_after: float | None
    held_out_tasks: int | None
    reward: float | None
    samples_per_second: float | None
    held_out_loss_before: float | None
    held_out_loss_after: float | None
    loss: float | None
    tokens_per_second: float | None
    seconds: float | None
    damage: Sequence[str]


@dataclass(frozen=True)
class TaskChanges:
    """Last verdicts of a run on the held-out tasks that it shares with the first run.

    ``gained``: tasks that it passes and the first does not; ``lost``: the reverse. ``chance`` is that of so uneven
    a split if the runs were equally good; None where programs are missing, so that tasks cannot be counted.
    """

    label: str
    shared: int
    gained: Sequence[str]
    lost: Sequence[str]
    chance: float | None


@dataclass(frozen=True)
class Comparison:
    """``differences``: (configuration key, its value in each run; None where it is not set).

    ``verdicts``: task -> its program record in each run, or None, of tasks whose verdicts differ.
    """

    runs: Sequence[RecordedRun]
    figures: Sequence[RunFigures]
    differences: Sequence[tuple[str, Sequence[str | None]]]
    changes: Sequence[TaskChanges]
    verdicts: Mapping[str, Sequence[Record | None]]

    @property
    def labels(self) -> list[str]:
        return [row.label for row in self.figures]

    @property
    def of_stages(self) -> bool:
        """Whether the runs are of supervised stages."""
        return bool(self.runs[0].stage)

    @property
    def window(self) -> int:
        """Steps in a moving mean: the same for all runs, by the longest of them."""
        return window(max(len(run.metrics) for run in self.runs))

    def as_record(self) -> dict[str, Any]:
        """Return the comparison as plain data, for scripts."""
        return {
            "runs": [vars(row) for row in self.figures],
            "differences": {key: dict(zip(self.labels, values, strict=True)) for key, values in self.differences},
            "held_out": [vars(change) for change in self.changes],
        }


def compare(folders: Sequence[Path]) -> Comparison:
    """Read and compare runs. Raises ConfigError for a folder that is no run's, for two kinds, or for too many."""
    seen: dict[Path, Path] = {}
    for folder in folders:
        check_run_folder(folder)
        twin = seen.setdefault(folder.resolve(), folder)
        if twin is not folder:
            raise ConfigError(f"{folder} is given twice")
    if len(folders) > COLOURS:
        raise ConfigError(f"{len(folders)} runs are too many to tell apart; give at most {COLOURS}")
    runs = [read_run(folder) for folder in folders]
    _check_kinds(runs)
    labels = _labels(runs)
    last = [programs_by_task(_last(run)) for run in runs]
    return Comparison(
        runs=runs,
        figures=[_figures(run, label) for run, label in zip(runs, labels, strict=True)],
        differences=_differences(runs),
        changes=[
            _changes(runs[0], run, label) for run, label in zip(runs[1:], labels[1:], strict=True) if not run.stage
        ],
        verdicts=_differing(last),
    )


def _check_kinds(runs: Sequence[RecordedRun]) -> None:
    stage = next((run for run in runs if run.stage), None)
    other = next((run for run in runs if not run.stage), None)
    if stage is not None and other is not None:
        raise ConfigError(
            f"{stage.folder} is a run of {stage.stage} and {other.folder} one of reinforcement learning, which "
            "have no figures in common; compare runs of one kind"
        )


def _labels(runs: Sequence[RecordedRun]) -> list[str]:
    """Return the runs' names; of runs with one name the folders' names, or if these are one too, the folders."""
    labels = [run.name for run in runs]
    for better in (lambda run: run.folder.resolve().name, lambda run: str(run.folder)):
        counts = Counter(labels)
        labels = [clean(better(r)) if counts[label] > 1 else label for r, label in zip(runs, labels, strict=True)]
    return labels


def _figures(run: RecordedRun, label: str) -> RunFigures:
    seconds = run.summary.get("seconds")
    total = seconds.get("total") if isinstance(seconds, Mapping) else None
    ends, losses, last = run.ends("reward/mean"), run.ends("denoising/loss"), _last(run)
    return RunFigures(
        label=label,
        folder=str(run.folder),
        status=run.status,
        steps=len(run.metrics),
        planned=run.steps_planned,
        pass_rate_before=_number(run.before.get("pass_rate")),
        pass_rate_after=_number(run.after.get("pass_rate")),
        held_out_tasks=last["tasks"] if isinstance(last.get("tasks"), int) else None,
        reward=ends[1] if ends else None,
        samples_per_second=_pace(run, "samples_per_second"),
        held_out_loss_before=_number(run.before.get("held_out/loss")),
        held_out_loss_after=_number(run.after.get("held_out/loss")),
        loss=losses[1] if losses else None,
        tokens_per_second=_pace(run, "tokens_per_second"),
        seconds=_number(total),
        damage=run.damage,
    )


def _pace(run: RecordedRun, name: str) -> float | None:
    """Return what the summary says of a pace; of a run that has none, the mean of its steps."""
    values = [y for _, y in run.points(f"perf/{name}")]
    return _number(run.summary.get(name)) or (sum(values) / len(values) if values else None)


def _differences(runs: Sequence[RecordedRun]) -> list[tuple[str, list[str | None]]]:
    columns = [dict(_flat(run.config)) | dict(_flat({"versions": run.run.get("versions")})) for run in runs]
    known = [column for column, run in zip(columns, runs, strict=True) if run.config]
    keys = dict.fromkeys(key for column in known for key in column if key not in _IDENTITY)
    differing = [key for key in keys if len({column.get(key) for column in known}) > 1]
    return [(clean(key), [column.get(key) for column in columns]) for key in differing]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:  # a key that an older release did not have is as good as one that is not set
            yield f"{prefix}{key}", clean(value if isinstance(value, str) else json.dumps(value, default=str))


def _changes(first: RecordedRun, run: RecordedRun, label: str) -> TaskChanges:
    base, other = programs_by_task(_last(first)), programs_by_task(_last(run))
    shared = sorted(base.keys() & other.keys())
    passes = {task: (bool(base[task].get("passed")), bool(other[task].get("passed"))) for task in shared}
    gained = [task for task in shared if passes[task] == (False, True)]
    lost = [task for task in shared if passes[task] == (True, False)]
    countable = shared and is_complete(_last(first)) and is_complete(_last(run))
    return TaskChanges(label, len(shared), gained, lost, chance(len(gained), len(lost)) if countable else None)


def _differing(last: Sequence[Mapping[str, Record]]) -> dict[str, list[Record | None]]:
    found = {}
    for task in sorted({task for programs in last for task in programs}):
        records = [programs.get(task) for programs in last]
        if len({bool(record.get("passed")) for record in records if record is not None}) > 1:
            found[task] = records
    return found


def _last(run: RecordedRun) -> Record:
    """Return the last evaluation, or an empty record if there is none."""
    return run.after or run.before


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and is_number(value) else None
