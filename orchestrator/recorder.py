"""Records of a run while it runs: in its folder, on the display, for Prometheus, by the loggers of the recipe."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from common.config import Config
from common.streams import Streams, connect
from common.telemetry import Telemetry, endpoint_host
from learner.learner_loop import StepReport
from orchestrator.admission import Ledger
from orchestrator.fleet.fleet import Fleet
from orchestrator.loggers import MetricLogger, open_loggers
from orchestrator.report.display import Display
from orchestrator.report.live_report import LiveReport
from orchestrator.rounds import Evaluation
from orchestrator.run_folder import RunFolder
from orchestrator.run_metrics import RunCollector, TargetsFile

#: Redis may hang when Prometheus asks, which would rather know the rest than wait.
_REDIS_SECONDS = 2.0
_SAMPLES_KEPT_PER_STEP = 4


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


class Recorder:
    """Record steps and evaluations everywhere. Call :meth:`poll` often."""

    def __init__(
        self,
        config: Config,
        output: RunOutput,
        telemetry: Telemetry,
        loggers: Sequence[MetricLogger],
        targets: TargetsFile,
    ) -> None:
        self._steps = config.run.total_steps
        self._folder = output.folder
        self._display = output.display
        self._totals = output.totals
        self._telemetry = telemetry
        self._loggers = loggers
        self._targets = targets
        self._report = LiveReport(output.folder.path)

    def phase(self, name: str) -> None:
        """Show that a phase of the run begins."""
        self._display.phase(name)

    def note(self, message: str) -> None:
        """Show something that the user should know, such as a restart."""
        self._display.note(message)

    def step(
        self, report: StepReport, step_seconds: float, weights_seconds: float, ledger: Ledger, restarts: int
    ) -> None:
        """Record a learner step: its metrics everywhere, a few of its samples in the folder."""
        metrics = report.metrics | {
            "seconds/weights": weights_seconds,
            "seconds/step": step_seconds,
            "perf/samples_per_second": report.samples / step_seconds,
            "ledger/admitted": float(ledger.admitted),
            "ledger/trained": float(ledger.trained),
            "ledger/filtered": float(ledger.filtered),
            "ledger/dropped": float(ledger.dropped),
            "ledger/in_flight": float(ledger.in_flight),
            "restarts": float(restarts),
        }
        self._totals.samples += report.samples
        self._totals.add_seconds("train", step_seconds)
        now = time.time()
        self._telemetry.set("run/step_end", now)
        self._log(report.version, metrics)
        self._folder.append("metrics", {"step": report.version, "time": now, **metrics})
        self._report.step_ended()
        for sample in _samples(report):
            self._folder.append("samples", sample)
        self._display.step(report.version, self._steps, metrics)

    def evaluation(self, result: Evaluation, seconds: float) -> None:
        """Record a held-out evaluation that took ``seconds``."""
        self._totals.add_seconds("evaluate", seconds)
        metrics = {"evaluation/pass_rate": result.pass_rate}
        self._log(result.version, metrics)
        self._folder.append("evaluations", result.as_record())
        self._report.evaluation_ended()
        self._display.evaluation(result.version, metrics, result.by_family)

    def has_evaluation(self, version: int) -> bool:
        """Tell whether the folder holds an evaluation of these weights."""
        return any(record["step"] == version for record in self._folder.records("evaluations"))

    def rewind(self, step: int) -> None:
        """Forget what was recorded of steps after ``step``: the run does them again."""
        self._folder.rewind(step)

    def poll(self) -> None:
        """List the processes that there are now for Prometheus, and renew the report for people."""
        self._targets.refresh()
        self._report.refresh()

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._telemetry.record(metrics, step)
        for logger in self._loggers:
            logger.log(metrics, step)


@contextmanager
def open_recorder(config: Config, output: RunOutput, redis_url: str, fleet: Fleet) -> Iterator[Recorder]:
    """Open the recorder of a run that stands at the learner's version, and show where its figures are."""
    folder, step = output.folder, fleet.learner.version
    folder.rewind(step)

    def addresses() -> list[str]:
        of_actors = (address for actors in fleet.by_role.values() for address in actors.addresses)
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
        watched = Streams(connect(redis_url, _REDIS_SECONDS), folder.run_id, config.streams)
        stack.callback(watched.client.close)
        telemetry.register(
            RunCollector(config, folder.path, watched, fleet.by_role, telemetry.labels, version("couplet-rl"))
        )
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
        yield Recorder(config, output, telemetry, loggers, TargetsFile(folder.path, addresses))


def _samples(report: StepReport) -> list[dict[str, object]]:
    """Return a few samples of a step for the report: the first of each of the first groups."""
    samples = []
    for group in report.groups[:_SAMPLES_KEPT_PER_STEP]:
        if group.rollouts is not None:
            score = group.scores[0]
            samples.append(
                {
                    "step": report.version,
                    "task_id": group.prompt.task.id,
                    "family": group.prompt.task.family,
                    "prompt": group.prompt.task.prompt,
                    "completion": group.rollouts.rollouts[0].text,
                    "reward": score.reward,
                    "components": score.components,
                    "verdicts": [str(verdict) for verdict in score.verdicts],
                }
            )
    return samples
