"""What a run records of its steps, across a resumption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from common.config import Config
from common.telemetry import Telemetry
from learner.learner_loop import StepReport
from learner.progress import Progress
from orchestrator.admission import Ledger
from orchestrator.recorder import Recorder
from orchestrator.report.display import Display
from orchestrator.run_folder import RunFolder
from orchestrator.run_metrics import TargetsFile
from orchestrator.run_recorder import Outlets, RunOutput


@contextmanager
def recorder(path: Path, resume: bool) -> Iterator[tuple[Recorder, RunFolder]]:
    settings = {"run": {"steps": 100, "folder": str(path)}, "model": {"path": "builtin:quickstart"}}
    config = Config.model_validate({**settings, "data": {"source": "synthetic"}})
    folder = RunFolder.open(config, resume)
    telemetry = Telemetry("orchestrator", "orchestrator", folder.run_id)
    try:
        outlets = Outlets(telemetry, [], TargetsFile(folder.path, list), 0)
        yield Recorder(100, RunOutput(folder, Display(Console(quiet=True))), outlets), folder
    finally:
        telemetry.close()
        folder.close()


def take(into: Recorder, step: int, reward: float) -> None:
    metrics = {"reward/mean": reward, "reward/std": 1.0}
    into.step(StepReport(step, metrics, 8, [], Progress()), 1.0, 0.0, Ledger(), {})


def plateaus(folder: RunFolder) -> list[float]:
    return [record["reward/plateau"] for record in folder.records("metrics")]


def test_the_steps_without_a_rise_go_on_when_a_run_is_resumed_or_thrown_back(tmp_path: Path) -> None:
    with recorder(tmp_path / "run", resume=False) as (first, folder):
        for step in range(1, 16):
            take(first, step, 1.0)
        assert plateaus(folder) == [0.0] * 10 + [1.0, 2.0, 3.0, 4.0, 5.0]
    with recorder(tmp_path / "run", resume=True) as (second, folder):
        take(second, 16, 1.0)
        second.rewind(12)
        take(second, 13, 9.0)
        take(second, 14, 1.0)
        assert plateaus(folder) == [0.0] * 10 + [1.0, 2.0, 0.0, 1.0]
