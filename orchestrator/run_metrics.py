"""The metrics of a run as a whole, read when Prometheus asks, and the list of the run's endpoints for it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import redis
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.config import Config, RunSettings
from common.disk import write_text, writing
from common.metrics.export import family
from common.metrics.metric import Metric
from common.metrics.processes import RUN
from common.streams import Streams
from orchestrator.fleet.health import Health

_RUN: dict[str, Metric] = {metric.key: metric for metric in RUN}


class Pool(Protocol):
    """Actors of one role."""

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each actor, by its name; see :class:`Health`."""

    @property
    def restarts(self) -> int:
        """Restarts of all actors so far."""

    @property
    def addresses(self) -> list[str]:
        """Metrics endpoints of the live actors."""


class RunCollector(Collector):
    """Collect the metrics of a run of any kind when it is scraped."""

    def __init__(
        self, config: RunSettings, folder: Path, pools: Mapping[str, Pool], labels: Mapping[str, str], version: str
    ) -> None:
        self._config = config
        self._folder = folder
        self._pools = dict(pools)
        self._labels = dict(labels)
        self._version = version

    def collect(self) -> Iterable[Family]:
        config, disk = self._config, shutil.disk_usage(self._folder)
        yield _one("run/steps_planned", self._labels, config.run.total_steps)
        yield _one("run/disk_free", self._labels, disk.free)
        yield _one("run/disk_size", self._labels, disk.total)
        about = (config.run.name, config.model.path, self._version)
        yield family(_RUN["run/info"], self._labels, [(about, 1.0)])
        states = {name: Counter(pool.states.values()) for name, pool in self._pools.items()}
        yield family(
            _RUN["fleet/workers"],
            self._labels,
            [((name, state), float(counts[state])) for name, counts in states.items() for state in Health],
        )
        restarts = [((name,), float(pool.restarts)) for name, pool in self._pools.items()]
        yield family(_RUN["fleet/restarts"], self._labels, restarts)


class StreamCollector(Collector):
    """Collect the metrics of a run's streams, and the bound of staleness, when it is scraped.

    ``streams`` has a client of its own with a short timeout: what Redis does not tell in time is left out.
    """

    def __init__(self, config: Config, streams: Streams, labels: Mapping[str, str]) -> None:
        self._config = config
        self._streams = streams
        self._labels = dict(labels)

    def collect(self) -> Iterable[Family]:
        yield _one("run/max_staleness", self._labels, self._config.admission.max_staleness)
        try:
            found = self._streams.backlogs()
        except redis.RedisError:
            return
        for key, figures in (
            ("stream/messages", {name: backlog.messages for name, backlog in found.items()}),
            ("stream/pending", {name: backlog.pending for name, backlog in found.items()}),
            ("stream/delivered", {name: backlog.delivered for name, backlog in found.items()}),
            ("stream/capacity", dict.fromkeys(found, self._config.streams.capacity)),
        ):
            samples = [((name,), float(figure)) for name, figure in figures.items() if figure is not None]
            yield family(_RUN[key], self._labels, samples)


def _one(key: str, labels: Mapping[str, str], value: float) -> Family:
    return family(_RUN[key], labels, [((), float(value))])


class TargetsFile:
    """Keep ``prometheus-targets.json`` in the run's folder, for Prometheus' ``file_sd_configs``."""

    def __init__(self, folder: Path, addresses: Callable[[], list[str]]) -> None:
        self._path = folder / "prometheus-targets.json"
        self._addresses = addresses
        self._written: list[str] | None = None

    def refresh(self) -> None:
        """Write it again if a process has come or gone."""
        addresses = self._addresses()
        if addresses != self._written:
            with writing(self._path.name, self._path.parent):
                write_text(self._path, json.dumps([{"targets": addresses}], indent=2) + "\n")
            self._written = addresses
