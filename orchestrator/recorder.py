"""Everywhere a run's figures go while it runs: its folder, Prometheus, and the loggers of the recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version

from common.config import Config
from common.streams import Streams, connect
from common.telemetry import Telemetry, endpoint_host
from orchestrator.loggers import MetricLogger, open_loggers
from orchestrator.report.live_report import LiveReport
from orchestrator.rounds import Evaluation
from orchestrator.run_folder import RunFolder
from orchestrator.run_metrics import Pool, RunCollector, TargetsFile

#: Redis may hang when Prometheus asks, which would rather know the rest than wait.
_REDIS_SECONDS = 2.0


class Recorder:
    """One call a step, one an evaluation, and :meth:`tend` now and then."""

    def __init__(
        self,
        folder: RunFolder,
        telemetry: Telemetry,
        loggers: Sequence[MetricLogger],
        targets: TargetsFile,
        report: LiveReport,
    ) -> None:
        self._folder = folder
        self._telemetry = telemetry
        self._loggers = loggers
        self._targets = targets
        self._report = report
        self.address = telemetry.address

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.time()
        self._telemetry.set("run/step_end", now)
        self._log(step, metrics)
        self._folder.append("metrics", {"step": step, "time": now, **metrics})
        self._report.step_ended()

    def evaluation(self, result: Evaluation) -> None:
        self._log(result.version, {"evaluation/pass_rate": result.pass_rate})
        self._folder.append("evaluations", result.as_record())
        self._report.evaluation_ended()

    def tend(self) -> None:
        """Let Prometheus find the processes that there are now, and people the report of the last steps."""
        self._targets.refresh()
        self._report.refresh()

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._telemetry.record(metrics, step)
        for logger in self._loggers:
            logger.log(metrics, step)


def open_recorder(
    config: Config, folder: RunFolder, redis_url: str, pools: Mapping[str, Pool], step: int, stack: ExitStack
) -> Recorder:
    """For a run that stands at ``step``; ``stack`` closes what it opens."""

    def addresses() -> list[str]:
        return [telemetry.address, *(address for pool in pools.values() for address in pool.addresses)]

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
    collector = RunCollector(config, folder.path, watched, pools, telemetry.labels, version("couplet-rl"))
    telemetry.register(collector)
    loggers = open_loggers(config, folder.run_id, step)
    for logger in loggers:
        stack.callback(logger.close)
    return Recorder(folder, telemetry, loggers, TargetsFile(folder.path, addresses), LiveReport(folder.path))
