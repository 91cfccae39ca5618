"""Metrics of scoring: a thread-safe accumulator, and its export to Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.metrics.export import family
from common.metrics.metric import Metric
from common.metrics.processes import (
    SCORING_COUNTERS,
    SCORING_EXCLUSIONS,
    SCORING_GAUGES,
    SCORING_LOST,
    SCORING_SPANS,
    SCORING_TESTS,
)
from common.records import Verdict
from reward_service.user_rewards import Failure
from sandbox.types import Sandbox

#: Upper bounds of the histograms' buckets, seconds; one more bucket takes the rest.
BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)


class Lost(StrEnum):
    """Name why a group could not be scored, besides what a reward function did (:class:`Failure`)."""

    TASK = "task"
    DELIVERIES = "deliveries"


class Exclusion(StrEnum):
    """Name why a completion is excluded: the sandbox failed or was late, or a reward function cannot tell."""

    SANDBOX = "sandbox"
    UNKNOWN_REWARD = "unknown_reward"


_Label = TypeVar("_Label", bound=StrEnum)


@dataclass
class DurationHistogram:
    """Durations: how many fell in each bucket of :data:`BOUNDS` and beyond, and their sum in seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class ScoringMetrics:
    """Accumulates the metrics of scoring by their declared keys; thread-safe. Gauges are read from the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter({metric.key: 0 for metric in SCORING_COUNTERS})
        self._verdicts: Counter[Verdict] = Counter(dict.fromkeys(Verdict, 0))
        self._lost: Counter[Lost | Failure] = Counter(dict.fromkeys([*Lost, *Failure], 0))
        self._exclusions: Counter[Exclusion] = Counter(dict.fromkeys(Exclusion, 0))
        self._durations = {metric.key: DurationHistogram() for metric in SCORING_SPANS}

    def count(self, key: str, amount: int = 1) -> None:
        """Add to a counter. Raises KeyError for one that is not declared."""
        with self._lock:
            if key not in self._counts:
                raise KeyError(key)
            self._counts[key] += amount

    def time(self, key: str, seconds: float) -> None:
        """Add a duration. Raises KeyError for a histogram that is not declared."""
        with self._lock:
            self._durations[key].add(seconds)

    def judged(self, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts on single tests."""
        with self._lock:
            self._verdicts.update(verdicts)

    def lost(self, reason: Lost | Failure) -> None:
        """Count a group that could not be scored."""
        with self._lock:
            self._lost[reason] += 1

    def excluded(self, reason: Exclusion) -> None:
        """Count a completion that is excluded."""
        with self._lock:
            self._counts["scoring/excluded"] += 1
            self._exclusions[reason] += 1

    def reasons(self) -> tuple[dict[Lost | Failure, int], dict[Exclusion, int]]:
        """Return the lost groups and the excluded completions by reason, every reason included."""
        with self._lock:
            return dict(self._lost), dict(self._exclusions)

    def collect(self) -> dict[str, float]:
        """Return the counters and gauges as they are now, by their declared keys."""
        facts = self._sandbox.describe()
        gauges = {metric.key: float(facts.get(metric.key.partition("/")[2], 0)) for metric in SCORING_GAUGES}
        with self._lock:
            return {**{key: float(count) for key, count in self._counts.items()}, **gauges}

    def verdicts(self) -> dict[Verdict, int]:
        """Return the number of tests by verdict, every verdict included."""
        with self._lock:
            return dict(self._verdicts)

    def durations(self) -> dict[str, DurationHistogram]:
        """Return copies of the histograms by their declared keys."""
        with self._lock:
            return {key: DurationHistogram(list(one.buckets), one.total) for key, one in self._durations.items()}


class ScoringCollector(Collector):
    """Exports scoring metrics from a Prometheus registry; ``labels`` go with every series."""

    def __init__(self, metrics: ScoringMetrics, labels: Mapping[str, str]) -> None:
        self._metrics = metrics
        self._labels = dict(labels)

    def collect(self) -> Iterable[Family]:
        names, values = list(self._labels), list(self._labels.values())
        found = self._metrics.collect()
        for metric in (*SCORING_COUNTERS, *SCORING_GAUGES):
            yield family(metric, self._labels, [((), found[metric.key])])
        lost, exclusions = self._metrics.reasons()
        yield self._labelled(SCORING_TESTS, self._metrics.verdicts())
        yield self._labelled(SCORING_LOST, lost)
        yield self._labelled(SCORING_EXCLUSIONS, exclusions)
        durations = self._metrics.durations()
        for metric in SCORING_SPANS:
            one = durations[metric.key]
            edges = [*map(str, BOUNDS), "+Inf"]
            buckets = list(zip(edges, map(float, accumulate(one.buckets)), strict=True))
            histogram = HistogramMetricFamily(metric.prometheus_name, metric.help, labels=names)
            histogram.add_metric(values, buckets, one.total)
            yield histogram

    def _labelled(self, metric: Metric, counts: Mapping[_Label, int]) -> Family:
        return family(metric, self._labels, [((label.value,), float(count)) for label, count in counts.items()])
