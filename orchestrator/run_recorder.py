"""Records of a run of any kind while it runs: in its folder, on the display, for Prometheus, by loggers."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from common.config import Config, StageConfig
from common.disk import DiskError
from common.telemetry import Telemetry, endpoint_host
from orchestrator.loggers import MetricLogger, open_loggers
from orchestrator.report.display import Display
from orchestrator.report.live_report import LiveReport
from orchestrator.run_folder import RunFolder
from orchestrator.run_metrics import Pool, RunCollector, TargetsFile


@dataclass
class Totals:
    """Add up what the summary of a run shows: samples, and seconds by phase."""

    samples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add_seconds(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


@dataclass(frozen=True)
class RunOutput:
    """Hold where a run reports to people: its folder, its display, and the totals of its summary."""

    folder: RunFolder
    display: Display
    totals: Totals = field(default_factory=Totals)

    def note(self, message: str) -> None:
        """Show something that happened, such as a restart, and keep it in ``notes.jsonl``, for the report.

        A disk that takes no more does not end a run for the sake of a note: it may be the one that says so.
        """
        self.display.note(message)
        with suppress(DiskError):
            self.folder.append("notes", {"time": time.time(), "text": message})


@dataclass(frozen=True)
class Outlets:
    """Hold where figures go beside the folder and the display: Prometheus, and the loggers of the recipe.

    The loggers get samples every ``sample_steps`` learner steps; 0: never.
    """

    telemetry: Telemetry
    loggers: Sequence[MetricLogger]
    targets: TargetsFile
    sample_steps: int


class RunRecorder:
    """Record metrics and evaluations everywhere. Call :meth:`poll` often."""

    def __init__(self, steps: int, output: RunOutput, outlets: Outlets) -> None:
        self._steps = steps
        self._output = output
        self._folder = output.folder
        self._display = output.display
        self._totals = output.totals
        self._outlets = outlets
        self._phase = ""
        self._report = LiveReport(output.folder.path)

    def phase(self, name: str) -> None:
        """Show that a phase of the run begins, unless it goes on."""
        if name != self._phase:
            self._phase = name
            self._display.phase(name)

    def note(self, message: str) -> None:
        """Show and keep something that the user should know, such as a restart."""
        self._output.note(message)

    def has_evaluation(self, version: int) -> bool:
        """Tell whether the folder holds an evaluation of these weights."""
        return any(record["step"] == version for record in self._folder.records("evaluations"))

    def rewind(self, step: int) -> None:
        """Forget what was recorded of steps after ``step``: the run does them again."""
        self._folder.rewind(step)

    def poll(self) -> None:
        """List the processes that there are now for Prometheus, and renew the report for people."""
        self._outlets.targets.refresh()
        self._report.refresh()

    def _record_step(self, step: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Record the metrics of a step that took ``seconds``."""
        self._totals.add_seconds("train", seconds)
        now = time.time()
        self._outlets.telemetry.set("run/step_end", now)
        self._log(step, metrics)
        self._folder.append("metrics", {"step": step, "time": now, **metrics})
        self._report.step_ended()
        self._display.step(step, self._steps, metrics)

    def _record_samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Record samples of a step in the folder, and every ``telemetry.sample_steps`` for the loggers."""
        for sample in samples:
            self._folder.append("samples", sample)
        every = self._outlets.sample_steps
        if samples and every and step % every == 0:
            for logger in self._outlets.loggers:
                logger.log_samples(samples, step)

    def _record_evaluation(
        self, step: int, metrics: Mapping[str, float], record: Mapping[str, Any], seconds: float
    ) -> None:
        """Record an evaluation that took ``seconds``: its metrics for the outlets, its record in the folder."""
        self._totals.add_seconds("evaluate", seconds)
        self._log(step, metrics)
        self._folder.append("evaluations", record)
        self._report.evaluation_ended()

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._outlets.telemetry.record(metrics, step)
        for logger in self._outlets.loggers:
            logger.log(metrics, step)


@contextmanager
def open_outlets(
    config: Config | StageConfig, output: RunOutput, pools: Mapping[str, Pool], step: int
) -> Iterator[Outlets]:
    """Open the outlets of a run that stands at ``step``, and show where its figures are.

    What is recorded of later steps is forgotten.
    """
    folder = output.folder
    folder.rewind(step)

    def addresses() -> list[str]:
        of_actors = (address for actors in pools.values() for address in actors.addresses)
        return [telemetry.address, *of_actors]

    with ExitStack() as stack:
        telemetry = Telemetry(
            "orchestrator",
            "orchestrator",
            folder.run_id,
            host=endpoint_host(config.telemetry.host, config.ray.address),
            port=config.telemetry.port,
            targets=addresses,
        )
        stack.callback(telemetry.close)
        telemetry.register(RunCollector(config, folder.path, pools, telemetry.labels, version("couplet-rl")))
        loggers = open_loggers(config, folder.run_id, step)
        for logger in loggers:
            stack.callback(logger.close)
        output.display.places(
            {
                "metrics": f"http://{telemetry.address}/metrics; all of the run's: "
                f"http://{telemetry.address}/targets, {folder.path / 'prometheus-targets.json'}",
                "report": f"{folder.path / 'report.html'} from the first step on; renew it with "
                f"couplet report {shlex.quote(str(folder.path))}",
            }
        )
        yield Outlets(telemetry, loggers, TargetsFile(folder.path, addresses), config.telemetry.sample_steps)
