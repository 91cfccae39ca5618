"""Read a run's folder for people to look at; the run may be going on, killed or damaged."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import yaml

from common.config import ConfigError
from orchestrator.report.charts import Point
from orchestrator.report.growing_lines import GrowingLines, Record, is_number
from orchestrator.report.text import clean, without_passwords

_MARKS = ("run.json", "config.yaml", "metrics.jsonl")


@dataclass(frozen=True)
class RecordedRun:
    """A run as its folder has it.

    ``metrics``: a record per learner step, in order; of a step that was done again only the last. They may be of
    fewer steps than the run recorded, ``steps_recorded``.
    ``corpus``: what a supervised stage trains on, from ``corpus.json``.
    ``status``: ``finished``, ``interrupted`` or ``failed`` as the run wrote; ``running`` while a process holds the
    folder; else ``incomplete``. ``damage``: what could not be read, in words.
    """

    folder: Path
    run: Record
    summary: Record
    metrics: Sequence[Record]
    steps_recorded: int
    evaluations: Sequence[Record]
    samples: Sequence[Record]
    corpus: Record
    config: Record
    config_text: str
    status: str
    damage: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        return clean(self.run.get("name") or self.folder.resolve().name)

    @property
    def stage(self) -> str:
        """The supervised stage that was run; empty for a run of reinforcement learning."""
        return clean(self.config.get("stage") or "")

    @property
    def before(self) -> Record:
        """The first held-out evaluation, or an empty record."""
        return self.evaluations[0] if self.evaluations else {}

    @property
    def after(self) -> Record:
        """The last held-out evaluation, or an empty record if there is only one."""
        return self.evaluations[-1] if len(self.evaluations) > 1 else {}

    @property
    def steps_planned(self) -> int | None:
        section = self.config.get("run")
        steps = section.get("steps") if isinstance(section, dict) else None
        return steps if isinstance(steps, int) else None

    def points(self, key: str) -> list[Point]:
        """Return a metric as (step, value), where it is a finite number."""
        return [(float(r["step"]), float(r[key])) for r in self.metrics if is_number(r.get(key))]

    def evaluated(self, key: str) -> list[Point]:
        """Return a metric of the held-out evaluations as (step, value), where it is a finite number."""
        return [(float(r["step"]), float(r[key])) for r in self.evaluations if is_number(r.get(key))]

    def ends(self, key: str) -> tuple[float, float, int] | None:
        """Return the mean of a metric's first and of its last fifth, and their size; None for under 5 steps."""
        values = [y for _, y in self.points(key)]
        size = len(values) // 5
        return (sum(values[:size]) / size, sum(values[-size:]) / size, size) if size else None

    def seconds_at(self) -> dict[float, float]:
        """Return seconds since the run started, by learner step; time between two attempts of a run counts."""
        try:
            start = datetime.fromisoformat(str(self.run.get("started"))).timestamp()
        except ValueError:
            return {}
        return {float(r["step"]): float(r["time"]) - start for r in self.metrics if is_number(r.get("time"))}


def check_run_folder(folder: Path) -> None:
    """Check that ``folder`` is one that a run writes. Raises ConfigError."""
    if not folder.is_dir() or not any((folder / name).exists() for name in _MARKS):
        what = "is no run folder" if folder.exists() else "does not exist"
        raise ConfigError(
            f"{folder} {what}; give the folder that a run writes (run.folder, else runs/<run.name>), "
            f"with {', '.join(_MARKS)} in it"
        )


def read_run(folder: Path) -> RecordedRun:
    """Read what can be read of a run; what is missing is empty."""
    return RunReader(folder).read()


class RunReader:
    """Read a run's folder again and again, at a cost that does not grow with the run.

    ``most_steps`` bounds the steps whose metrics and samples are kept (:class:`GrowingLines`); by default all are.
    """

    def __init__(self, folder: Path, most_steps: int | None = None) -> None:
        self._folder = folder
        self._metrics = GrowingLines(folder / "metrics.jsonl", most_steps)
        self._samples = GrowingLines(folder / "samples.jsonl", most_steps)
        self._evaluations = GrowingLines(folder / "evaluations.jsonl")

    def read(self) -> RecordedRun:
        """Read what can be read of the run as it is now; what is missing is empty."""
        folder, damage = self._folder, list[str]()
        metrics = {r["step"]: r for r in self._lines(self._metrics, damage) if is_number(r.get("step"))}
        summary = _read(folder / "summary.json", damage)
        config, config_text = _config(folder / "config.yaml", damage)
        measured = "held_out/loss" if config.get("stage") else "pass_rate"
        evaluations = [
            r
            for r in self._lines(self._evaluations, damage)
            if is_number(r.get("step")) and is_number(r.get(measured))
        ]
        return RecordedRun(
            folder=folder,
            run=_read(folder / "run.json", damage),
            summary=summary,
            metrics=[metrics[step] for step in sorted(metrics)],
            steps_recorded=max(len(metrics), self._metrics.steps),
            evaluations=evaluations,
            samples=self._lines(self._samples, damage),
            corpus=_read(folder / "corpus.json", damage),
            config=config,
            config_text=config_text,
            status=clean(summary.get("status") or ("running" if _is_held(folder) else "incomplete")),
            damage=damage,
        )

    @staticmethod
    def _lines(file: GrowingLines, damage: list[str]) -> Sequence[Record]:
        records = file.read()
        if file.bad_lines:
            damage.append(f"{file.name}: {file.bad_lines} line{'s' * (file.bad_lines > 1)} cannot be read")
        return records


def _is_held(folder: Path) -> bool:
    """Return whether a process has the run folder open (``RunFolder.open`` locks it)."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _read(path: Path, damage: list[str]) -> Record:
    if not path.exists():
        return {}
    record = _parse(path.read_text(encoding="utf-8", errors="replace"))
    if record is None:
        damage.append(f"{path.name} is damaged")
    return record or {}


def _config(path: Path, damage: list[str]) -> tuple[Record, str]:
    """Return the configuration by section and as text, without passwords; empty if it is absent or damaged."""
    text = without_passwords(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        tree = text
    if isinstance(tree, dict):
        return tree, text
    if text:
        damage.append("config.yaml is damaged")
    return {}, text


def _parse(text: str) -> Record | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
