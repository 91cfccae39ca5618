"""Records of a stage's run while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from common.config import StageConfig
from learner.stages.segments import StageReport
from orchestrator.run_recorder import RunOutput, RunRecorder, open_outlets
from orchestrator.stages.stage_group import StageGroup


class StageRecorder(RunRecorder):
    """Record steps and held-out losses everywhere."""

    def step(self, report: StageReport, seconds: float, restarts: int) -> None:
        """Record a step that took ``seconds``."""
        metrics = report.metrics | {"seconds/step": seconds, "restarts": float(restarts)}
        self._record_step(report.version, metrics, seconds)

    def evaluation(self, version: int, losses: Mapping[str, float], seconds: float) -> None:
        """Record the held-out losses of the weights after ``version`` steps."""
        self._record_evaluation(version, losses, {"step": version, **losses}, seconds)
        self._display.evaluation(version, losses)


@contextmanager
def open_stage_recorder(config: StageConfig, output: RunOutput, ranks: StageGroup) -> Iterator[StageRecorder]:
    """Open the recorder of a run that stands at the ranks' version, and show where its figures are."""
    with open_outlets(config, output, {"learner": ranks}, ranks.version) as outlets:
        yield StageRecorder(config.run.total_steps, output, outlets)
