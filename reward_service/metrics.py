"""What the reward service has done so far: thread-safe figures, and how Prometheus sees them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from common.metrics.export import family
from common.metrics.processes import SCORING_COUNTERS, SCORING_GAUGES, SCORING_SPANS, SCORING_TESTS
from common.records import Verdict
from sandbox.types import Sandbox

#: Upper bounds of the histograms' buckets, seconds; one more bucket takes the rest.
BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)


@dataclass
class Span:
    """Durations seen: how many in each bucket of :data:`BOUNDS` and beyond, and their sum in seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Tally:
    """Counts by the keys that :mod:`common.metrics` declares. The slots' figures are asked of the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter({metric.key: 0 for metric in SCORING_COUNTERS})
        self._verdicts: Counter[Verdict] = Counter(dict.fromkeys(Verdict, 0))
        self._spans = {metric.key: Span() for metric in SCORING_SPANS}

    def count(self, key: str, amount: int = 1) -> None:
        """Raises KeyError for a key that is not declared."""
        with self._lock:
            if key not in self._counts:
                raise KeyError(key)
            self._counts[key] += amount

    def time(self, key: str, seconds: float) -> None:
        """Raises KeyError for a key that is not declared."""
        with self._lock:
            self._spans[key].add(seconds)

    def judged(self, verdicts: Iterable[Verdict]) -> None:
        with self._lock:
            self._verdicts.update(verdicts)

    def collect(self) -> dict[str, float]:
        """Counters and gauges now, by their declared keys."""
        facts = self._sandbox.describe()
        gauges = {metric.key: float(facts.get(metric.key.partition("/")[2], 0)) for metric in SCORING_GAUGES}
        with self._lock:
            return {**{key: float(count) for key, count in self._counts.items()}, **gauges}

    def verdicts(self) -> dict[Verdict, int]:
        """Tests by verdict, every verdict included."""
        with self._lock:
            return dict(self._verdicts)

    def spans(self) -> dict[str, Span]:
        """Durations by their declared keys."""
        with self._lock:
            return {key: Span(list(span.buckets), span.total) for key, span in self._spans.items()}


class TallyCollector(Collector):
    """Exports a tally from a Prometheus registry; ``labels`` go with every series."""

    def __init__(self, tally: Tally, labels: Mapping[str, str]) -> None:
        self._tally = tally
        self._labels = dict(labels)

    def collect(self) -> Iterable[Family]:
        names, values = list(self._labels), list(self._labels.values())
        found = self._tally.collect()
        for metric in (*SCORING_COUNTERS, *SCORING_GAUGES):
            yield family(metric, self._labels, [((), found[metric.key])])
        verdicts = self._tally.verdicts().items()
        yield family(
            SCORING_TESTS, self._labels, [((verdict.value,), float(count)) for verdict, count in verdicts]
        )
        spans = self._tally.spans()
        for metric in SCORING_SPANS:
            span = spans[metric.key]
            edges = [*map(str, BOUNDS), "+Inf"]
            buckets = list(zip(edges, map(float, accumulate(span.buckets)), strict=True))
            histogram = HistogramMetricFamily(metric.prometheus_name, metric.help, labels=names)
            histogram.add_metric(values, buckets, span.total)
            yield histogram
