"""Metrics of the HTTP side, and their export to Prometheus with those of scoring."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.metrics.export import LabelledProcess
from common.metrics.metric import Metric
from common.metrics.processes import (
    HTTP_CAPACITY,
    HTTP_DEPTH,
    HTTP_LATE,
    HTTP_PROGRAM,
    HTTP_REQUESTS,
    HTTP_WAIT,
)
from reward_service.metrics import BOUNDS, ScoringCollector, ScoringMetrics

_REFUSED = 400
#: That get a label of their own; others share one.
_PATHS = ("/v1/score", "/run_code")
T = TypeVar("T", Counter, Gauge, Histogram)


class ServiceMetrics:
    """Accumulates what the service did. ``depth``: programs that wait now; ``capacity``: that may.

    ``labels`` go with every series.
    """

    def __init__(
        self,
        scoring: ScoringMetrics,
        depth: Callable[[], int],
        capacity: int,
        labels: Mapping[str, str],
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ScoringCollector(scoring, labels))
        self._registry.register(LabelledProcess(labels))
        self._labels = dict(labels)
        self._requests = self._made(Counter, HTTP_REQUESTS)
        self._seconds = self._made(Histogram, HTTP_PROGRAM, buckets=BOUNDS).labels(**labels)
        self._waits = self._made(Histogram, HTTP_WAIT, buckets=BOUNDS).labels(**labels)
        self._late = self._made(Counter, HTTP_LATE).labels(**labels)
        self._made(Gauge, HTTP_DEPTH).labels(**labels).set_function(lambda: float(depth()))
        self._made(Gauge, HTTP_CAPACITY).labels(**labels).set(capacity)
        self._recent: Counts[str] = Counts()

    def waited(self, seconds: float) -> None:
        """Note how long a program waited for its turn."""
        self._waits.observe(seconds)

    def ran(self, seconds: float) -> None:
        """Note how long a program took from its turn to its verdicts."""
        self._seconds.observe(seconds)
        self._recent["programs"] += 1

    def late(self, completions: int) -> None:
        """Count completions that a batch's deadline left without a score."""
        self._late.inc(completions)

    def answered(self, path: str, status: int) -> None:
        """Count an answer."""
        shown = path if path in _PATHS else "other"
        self._requests.labels(**self._labels, path=shown, status=str(status)).inc()
        self._recent["requests"] += 1
        self._recent["refused"] += status >= _REFUSED

    def recent(self) -> dict[str, int]:
        """Return the number of requests, of those refused, and of programs, since the last call."""
        found = {key: self._recent[key] for key in ("requests", "refused", "programs")}
        self._recent.clear()
        return found

    def _made(self, kind: type[T], metric: Metric, **options: Any) -> T:
        names = [*self._labels, *metric.labels]
        return kind(metric.prometheus_name, metric.help, names, registry=self._registry, **options)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Metered:
    """ASGI middleware that counts every answer but those to ``unmetered`` paths."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, unmetered: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._unmetered = frozenset(unmetered)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(scope["path"], message["status"])
            await send(message)

        metered = scope["type"] == "http" and scope["path"] not in self._unmetered
        await self._app(scope, receive, watched if metered else send)
